"""Passkeys in a real browser with a device of its own: added, signed in by, taken in place of a code, and refused where they are not good."""

import base64

import pytest
from django.conf import settings as django_settings
from playwright.sync_api import expect, sync_playwright

from clc.services import second_step
from luhyaapi import clock
from luhyadb.models import Account, Passkey
from tests.support.clc_world import PASSWORD, World

pytestmark = [pytest.mark.live, pytest.mark.django_db(transaction=True, databases=["default", "cc"])]
DEVICE = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True,
          "automaticPresenceSimulation": True}


@pytest.fixture
def console(live_server, settings, monkeypatch):
    """The console at http://localhost, which browsers trust as they do https, with one account."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # the browser's client has a loop of its own in this thread
    one = django_settings.EDUCLOUD
    settings.EDUCLOUD = one.model_copy(update={"console": one.console.model_copy(update={"public_url": live_server.url})})
    return live_server.url, World().account("ada")


@pytest.fixture
def page(console):
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=console[0], locale="en")
        page = context.new_page()
        page.on("console", lambda m: print("console", m.type, m.text))
        page.on("response", lambda r: print(r.status, r.url) if r.status >= 400 else None)
        yield page
        browser.close()


@pytest.fixture
def device(page):
    """An authenticator in the browser, as a laptop has one."""
    line = page.context.new_cdp_session(page)
    line.send("WebAuthn.enable")
    ident = line.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})["authenticatorId"]
    return line, ident


def by_password(page):
    page.goto("/login/")
    page.fill("input[name=username]", "ada")
    page.fill("input[name=password]", PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def out(page):
    page.get_by_role("button", name="Sign out", exact=True).first.click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def add(page, name="laptop", password=PASSWORD):
    page.goto("/account/")
    page.fill("form[data-passkey] input[name=passkey_name]", name)
    page.fill("form[data-passkey] input[name=current_password]", password)
    page.get_by_role("button", name="Add a passkey").click()


def test_it_is_added_and_is_the_whole_sign_in_and_takes_the_place_of_a_code(page, device, console):
    line, ident = device
    by_password(page)
    add(page, password="wrong")
    expect(page.locator("form[data-passkey] [data-passkey-note]")).to_contain_text("The current password is wrong")
    add(page)
    expect(page.get_by_text("The passkey laptop is added")).to_be_visible()
    (kept,) = line.send("WebAuthn.getCredentials", {"authenticatorId": ident})["credentials"]
    assert kept["isResidentCredential"]
    assert kept["rpId"] == "localhost"
    add(page, "again")
    expect(page.locator("form[data-passkey] [data-passkey-note]")).to_contain_text("has a passkey for your account already")
    out(page)
    page.goto("/login/?next=/account/")
    page.get_by_role("button", name="Sign in by a passkey").click()
    expect(page.get_by_role("heading", name="My account")).to_be_visible()
    assert Passkey.objects.get().used_at > 0

    account = Account.objects.get(username="ada")
    secret = base64.b32decode(second_step.enrol(account).secret)
    second_step.confirm(account, second_step.code_at(secret, int(clock.now() // 30)))
    page.goto("/portal/")
    out(page)
    by_password(page)
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    page.get_by_role("button", name="Sign in by a passkey").click()
    expect(page.get_by_role("button", name="Sign out", exact=True).first).to_be_visible()
    out(page)

    line.send("WebAuthn.setUserVerified", {"authenticatorId": ident, "isUserVerified": False})
    page.get_by_role("button", name="Sign in by a passkey").click()
    expect(page.locator("[data-passkey-note]")).to_contain_text("Nothing was signed")
    line.send("WebAuthn.setUserVerified", {"authenticatorId": ident, "isUserVerified": True})
    Passkey.objects.update(count=10_000)
    page.get_by_role("button", name="Sign in by a passkey").click()
    expect(page.get_by_text("its counter went back")).to_be_visible()

    page.goto(console[0].replace("localhost", "127.0.0.1") + "/login/")
    expect(page.get_by_role("button", name="Sign in by a passkey")).to_be_disabled()
    expect(page.locator("[data-passkey-note]")).to_contain_text("Passkeys are good at http://localhost")
