"""Signing in at a real OpenID provider: django-oauth-toolkit in a process of its own, from the button to the account."""

from __future__ import annotations

import html
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from django.test import Client

from clc.drivers import oidc_provider
from clc.services import directories
from clc.services.directory_lines import lines
from luhyadb.models import Account, SecondStep
from tests.support import real_provider, scratch

pytestmark = pytest.mark.live
BACK = "http://testserver/login/with/school/return/"


@pytest.fixture(scope="module")
def provider():
    with real_provider.server(BACK, scratch.folder("provider")) as bed:
        yield bed


@pytest.fixture
def school(provider, world, admin, monkeypatch):
    world.group("edu", admin)
    monkeypatch.setattr(lines, "_silent", {})
    oidc_provider.remembered.forget()
    row = directories.add(admin, "school", "oidc", provider.settings(), secret=real_provider.SECRET, enabled=True)
    directories.map_to(admin, "school", "groups", "pupils", "edu", "user")
    return row


def brought(client, provider, name="ann", where="/login/with/school/", browser=None):
    """What the browser of somebody who signs in there comes back with."""
    answer = client.get(where)
    assert answer.status_code == 302, html.unescape(answer.content.decode())
    back = provider.sign_in(answer["Location"], name, browser=browser)
    assert back.startswith(BACK), back
    return dict(parse_qsl(urlsplit(back).query))


def test_from_the_button_to_the_account(school, provider):
    client = Client()
    assert "/login/with/school/" in client.get("/login/").content.decode()
    assert client.get(BACK, brought(client, provider))["Location"] == "/portal/"
    ann = Account.objects.get(username="ann")
    assert (ann.group.path, ann.display_name, ann.email) == ("edu", "Ann", "ann@school.test")
    again = Client()
    again.get(BACK, brought(again, provider))
    assert again.get("/account/").status_code == 200
    assert Account.objects.filter(username__startswith="ann").count() == 1


def test_a_test_says_that_it_works(school, api, admin):
    tested = api(admin).post("/api/v1/directories/school/test/", {}, format="json").json()
    assert tested["ok"], tested


def test_a_code_is_good_once_and_for_whom_asked(school, provider):
    first, second = Client(), Client()
    stolen = brought(first, provider)
    mine = brought(second, provider, "bob")
    answer = second.get(BACK, mine | {"code": stolen["code"]})
    assert (answer.status_code, "no good one" in html.unescape(answer.content.decode())) == (401, True)
    assert not Account.objects.filter(username__in=("ann", "bob")).exists()


def test_its_keys_rotate(school, provider):
    client = Client()
    client.get(BACK, brought(client, provider))
    provider.rotate()
    for url, (at, body) in list(oidc_provider.remembered._said.items()):
        oidc_provider.remembered._said[url] = at - 10, body
    client = Client()
    client.get(BACK, brought(client, provider))
    assert client.get("/account/").status_code == 200


def test_a_wrong_secret_is_told(school, provider, admin):
    directories.change(admin, "school", secret="something else")
    client = Client()
    answer = client.get(BACK, brought(client, provider))
    assert answer.status_code == 503
    assert "does not know the client" in html.unescape(answer.content.decode())


def test_the_proof_is_a_sign_in_that_is_fresh(school, provider):
    browser = httpx.Client(timeout=10)
    client = Client()
    client.get(BACK, brought(client, provider, browser=browser))
    back = brought(client, provider, where="/account/again/", browser=browser)
    assert client.get(BACK, back)["Location"] == "/account/"
    client.post("/account/second-step/enrol/")
    assert SecondStep.objects.exists()


def test_a_provider_that_stopped_is_an_error(school, provider):
    provider.stop()
    try:
        answer = Client().get("/login/with/school/")
        assert answer.status_code == 503
        assert "The directory school does not answer" in html.unescape(answer.content.decode())
    finally:
        provider.start()
