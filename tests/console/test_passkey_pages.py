"""Pages that add passkeys and sign in by them, with a device in software."""

from __future__ import annotations

import base64
import html

import pytest
from django.conf import settings as django_settings
from django.test import Client

from clc.services import passkeys, second_step
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyadb.models import Event, Passkey
from tests.support.clc_world import PASSWORD
from tests.support.soft_authenticator import SoftAuthenticator

AT = "https://cloud.test"


@pytest.fixture
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def device(settings, world, time):
    one = django_settings.EDUCLOUD
    settings.EDUCLOUD = one.model_copy(update={"console": one.console.model_copy(update={"public_url": AT})})
    return SoftAuthenticator(AT)


def browser(account, **more):
    client = Client(**more)
    client.force_login(account)
    return client


def text(answer):
    return html.unescape(answer.content.decode())


def add(client, device, name="phone", password=PASSWORD):
    begun = client.post("/account/passkeys/begin/", {"current_password": password}, headers={"X-Live": "1"})
    assert begun.status_code == 200, begun.content
    return client.post("/account/passkeys/add/", {"passkey_name": name, "answer": device.create(begun.json())})


def sign_in(client, device, **more):
    options = client.post("/login/passkey/begin/", headers={"X-Live": "1"}).json()
    return client.post("/login/passkey/", {"answer": device.get(options, **more.pop("device", {})), **more})


def test_one_is_added_signs_in_and_is_removed(user, device):
    client = browser(user)
    assert add(client, device)["Location"] == "/account/"
    page = text(client.get("/account/"))
    assert "phone" in page
    assert "never used" in page
    visitor = Client()
    assert "Sign in by a passkey" in text(visitor.get("/login/"))
    answer = sign_in(visitor, device, next="/instances/")
    assert answer["Location"] == "/instances/"
    assert visitor.get("/account/").status_code == 200
    assert Event.objects.filter(what="signed in", actor=user).count() == 1
    assert sign_in(Client(), device, next="https://evil.test/")["Location"] == "/portal/", "and nowhere else"
    ident = Passkey.objects.get().pk
    client.post(f"/account/passkeys/{ident}/rename/", {"passkey_name": "my phone"})
    assert "my phone" in text(client.get("/account/"))
    client.post(f"/account/passkeys/{ident}/remove/", {"current_password": "wrong"})
    assert "The current password is wrong" in text(client.get("/account/"))
    assert client.post(f"/account/passkeys/{ident}/remove/", {"current_password": PASSWORD})["Location"] == "/account/"
    answer = sign_in(Client(), device)
    assert answer.status_code == 401
    assert "nobody here has it" in text(answer)


def test_the_password_is_asked_again_before_one_is_added(user, device):
    client = browser(user)
    for password in ("", "wrong"):
        refused = client.post("/account/passkeys/begin/", {"current_password": password}, headers={"X-Live": "1"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert client.post("/account/passkeys/add/", {"passkey_name": "x", "answer": "{}"})["Location"] == "/account/"
    assert "This took too long, or began elsewhere" in text(client.get("/account/"))
    assert not Passkey.objects.exists()


def test_what_began_in_one_browser_ends_in_no_other(user, other, device):
    add(browser(user), device)
    mine, theirs = Client(), Client()
    options = mine.post("/login/passkey/begin/", headers={"X-Live": "1"}).json()
    answer = device.get(options)
    assert theirs.post("/login/passkey/", {"answer": answer}).status_code == 409
    assert mine.post("/login/passkey/", {"answer": answer}).status_code == 302
    assert mine.cookies.get(f"educloud_passkey_{django_settings.EDUCLOUD.console.port}").value == "", "it is over"
    a, b = browser(user), browser(other)
    begun = a.post("/account/passkeys/begin/", {"current_password": PASSWORD}, headers={"X-Live": "1"})
    b.cookies.update(begun.cookies)
    b.post("/account/passkeys/add/", {"passkey_name": "stolen", "answer": SoftAuthenticator(AT).create(begun.json())})
    assert not Passkey.objects.filter(account=other).exists()


def test_it_takes_the_place_of_a_code_and_only_ones_own_does(user, other, device):
    secret = base64.b32decode(second_step.enrol(user).secret)
    second_step.confirm(user, second_step.code_at(secret, int(clock.now() // 30)))
    add(browser(user), device)
    theirs = SoftAuthenticator(AT)
    add(browser(other), theirs)
    visitor = Client()
    assert visitor.post("/login/", {"username": "ada", "password": PASSWORD, "next": "/instances/"})["Location"] == "/login/code/"
    assert "Sign in by a passkey" in text(visitor.get("/login/code/"))
    options = visitor.post("/login/passkey/begin/", headers={"X-Live": "1"}).json()
    assert len(options["allowCredentials"]) == 1
    refused = visitor.post("/login/passkey/", {"answer": theirs.get({**options, "allowCredentials": []})})
    assert refused.status_code == 401
    assert "/login/code/" in text(refused), "still the second step"
    assert sign_in(visitor, device)["Location"] == "/instances/"
    fresh = Client()
    assert sign_in(fresh, device)["Location"] == "/portal/", "and is a whole sign-in by itself: a device and who has it"


def test_a_password_somebody_else_chose_has_to_be_changed_still(admin, user, device):
    add(browser(user), device)
    from clc.services import people

    people.set_password(user, "another horse battery", by=admin)
    assert sign_in(Client(), device)["Location"] == "/account/password/"


def test_without_an_address_no_page_offers_them_and_the_reason_is_told(settings, user, device):
    one = django_settings.EDUCLOUD
    settings.EDUCLOUD = one.model_copy(update={"console": one.console.model_copy(update={"public_url": ""})})
    assert "Sign in by a passkey" not in text(Client().get("/login/"))
    assert "None can be added" in text(browser(user).get("/account/"))
    refused = Client().post("/login/passkey/begin/", headers={"X-Live": "1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "state")
    refused = browser(user).post("/account/passkeys/begin/", {"current_password": PASSWORD}, headers={"X-Live": "1"})
    assert "does not know the address" in refused.json()["why"]


def test_doors_need_the_token_and_the_right_person(admin, user, other, device):
    add(browser(user), device)
    ident = Passkey.objects.get().pk
    for path in ("/login/passkey/begin/", "/login/passkey/"):
        assert Client(enforce_csrf_checks=True).post(path).status_code == 403
        assert Client().get(path).status_code == 405
    for path in ("/account/passkeys/begin/", "/account/passkeys/add/", f"/account/passkeys/{ident}/rename/", f"/account/passkeys/{ident}/remove/"):
        assert Client().post(path)["Location"].startswith("/login/")
        assert browser(user, enforce_csrf_checks=True).post(path).status_code == 403
    for verb, data in (("rename", {"passkey_name": "mine"}), ("remove", {"current_password": PASSWORD})):
        assert browser(other).post(f"/account/passkeys/{ident}/{verb}/", data).status_code == 404
    assert browser(other).post("/people/of/ada/passkeys/").status_code == 404
    assert "Remove all" in text(browser(admin).get("/people/of/ada/"))
    assert browser(admin).post("/people/of/ada/passkeys/")["Location"] == "/people/of/ada/"
    assert not passkeys.of(user).exists()


def test_beginning_costs_no_row(user, device):
    from luhyadb.models import BrowserSession, SpentChallenge

    for _ in range(3):
        assert Client().post("/login/passkey/begin/", headers={"X-Live": "1"}).status_code == 200
    assert not BrowserSession.objects.exists()
    assert not SpentChallenge.objects.exists()
