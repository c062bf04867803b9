"""The pages of one's own account, of signing in by two steps, and what an administrator does to the sign-ins of others."""

from __future__ import annotations

import base64
import html
import re

import pytest
from django.test import Client

from clc.services import lock_out, second_step, tokens
from clc.web.pages import PAGES
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyadb.models import ApiToken, BrowserSession
from tests.support.clc_world import PASSWORD

NEW = "another horse battery"
POSTS = [p for p in PAGES.values() if p.slug.startswith(("account", "person_")) and "POST" in p.methods]


@pytest.fixture
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


def browser(account, **more):
    client = Client(**more)
    client.force_login(account)
    return client


def code(secret, steps=0):
    return second_step.code_at(secret, int(clock.now() // 30) + steps)


def sent_back(client, where, data):
    """The page a refused form goes back to."""
    answer = client.post(where, data)
    assert answer.status_code == 302, answer.content.decode()[:500]
    return html.unescape(client.get(answer["Location"]).content.decode())


@pytest.fixture
def app(world, user, time):
    secret = base64.b32decode(second_step.enrol(user).secret)
    codes = second_step.confirm(user, code(secret))
    time.sleep(90)
    return secret, codes


@pytest.mark.parametrize("one", POSTS, ids=lambda p: p.slug)
def test_every_change_needs_somebody_and_the_csrf_token(world, admin, user, one):
    path = "/" + one.url.replace("<str:ident>", "ada" if one.under == "people" else "tok-00000000")
    assert Client().post(path)["Location"].startswith("/login/")
    assert browser(admin, enforce_csrf_checks=True).post(path).status_code == 403
    if "GET" not in one.methods:
        assert browser(admin).get(path).status_code == 405
    if one.admin_only:
        assert browser(user).post(path).status_code == 404


def test_a_token_is_made_shown_once_and_revoked(world, user, other):
    client = browser(user)
    made = client.post("/account/tokens/add/", {"name": "nightly", "scope": "read", "days": "30"}).content.decode()
    text = re.search(r"<code>(eat\.[\w-]{32})</code>", made)[1]
    assert tokens.known(text).scope == "read"
    again = client.get("/account/").content.decode()
    assert "nightly" in again
    assert text not in again
    ident = ApiToken.objects.get().pk
    assert browser(other).post(f"/account/tokens/{ident}/revoke/").status_code == 404
    assert client.post(f"/account/tokens/{ident}/revoke/")["Location"] == "/account/"
    assert tokens.known(text) is None


@pytest.mark.parametrize(("sent", "said"), [
    ({"name": "", "days": "1"}, "The name of the token is not possible"), ({"name": "x", "days": "366"}, "The end of the token is not possible"),
    ({"name": "x", "days": "-1"}, "The end of the token is not possible"), ({"name": "x", "days": "²"}, "The end of the token is not possible"),
    ({"name": "x", "days": "1", "scope": "root"}, "The scope is not possible"),
])
def test_a_form_that_cannot_be_says_why(world, user, sent, said):
    assert said in sent_back(browser(user), "/account/tokens/add/", sent)


def test_another_password_ends_all_but_this_browser(world, user):
    here, there = browser(user), browser(user)
    token = tokens.signed_in(user)[1]
    sent = {"current_password": PASSWORD, "password": NEW, "password_again": NEW}
    assert "The two passwords differ" in sent_back(here, "/account/password/", sent | {"password_again": "x"})
    assert "The current password is wrong" in sent_back(here, "/account/password/", sent | {"current_password": "guess"})
    page = sent_back(here, "/account/password/", sent | {"password": "short", "password_again": "short"})
    assert "not strong enough" in page
    assert PASSWORD not in page
    assert here.post("/account/password/", sent)["Location"] == "/portal/"
    assert here.get("/account/").status_code == 200
    assert there.get("/account/").status_code == 302
    assert tokens.known(token) is None


def test_browsers_are_shown_and_signed_out(world, user, other):
    here, there = browser(user), browser(user)
    ident = there.get("/api/v1/sessions/").json()["results"]
    ident = next(s["id"] for s in ident if s["current"])
    assert "This one" in here.get("/account/").content.decode()
    assert browser(other).post(f"/account/sessions/{ident}/end/").status_code == 404
    assert here.post(f"/account/sessions/{ident}/end/", {"next": "//evil.example/"})["Location"] == "/account/"
    assert there.get("/portal/").status_code == 302
    there = browser(user)
    assert here.post("/account/sessions/end-others/").status_code == 302
    assert there.get("/portal/").status_code == 302
    mine = BrowserSession.objects.get(account=user).ident
    assert here.post(f"/account/sessions/{mine}/end/")["Location"] == "/login/"
    assert here.get("/portal/").status_code == 302


def test_the_second_step_by_pages(world, user, time):
    client = browser(user)
    assert client.get("/account/second-step/")["Location"] == "/account/"
    assert "The current password is wrong" in sent_back(client, "/account/second-step/enrol/", {"current_password": "guess"})
    assert client.post("/account/second-step/enrol/", {"current_password": PASSWORD})["Location"] == "/account/second-step/"
    page = client.get("/account/second-step/").content.decode()
    secret = base64.b32decode(re.search(r"<code>([A-Z2-7]{32})</code>", page)[1])
    assert 'src="data:image/svg+xml;base64,' in page
    assert "The code is wrong" in sent_back(client, "/account/second-step/confirm/", {"code": "000000"})
    done = client.post("/account/second-step/confirm/", {"code": code(secret)}).content.decode()
    codes = re.findall(r"<li><code>([a-z2-7-]{19})</code></li>", done)
    assert len(codes) == 10
    assert client.get("/account/second-step/")["Location"] == "/account/", "the secret is shown no more"

    time.sleep(60)
    door = Client()
    answer = door.post("/login/", {"username": "ada", "password": PASSWORD, "next": "/tasks/"})
    assert answer["Location"] == "/login/code/"
    assert door.get("/portal/").status_code == 302, "half is not signed in"
    assert door.get("/api/v1/users/me/").status_code in (401, 403)
    wrong = door.post("/login/code/", {"code": "123123"})
    assert wrong.status_code == 401
    assert "123123" not in wrong.content.decode()
    assert door.post("/login/code/", {"code": code(secret)})["Location"] == "/tasks/"
    assert door.get("/portal/").status_code == 200
    assert door.get("/login/code/")["Location"] == "/login/"
    door = Client()
    door.post("/login/", {"username": "ada", "password": PASSWORD})
    assert door.post("/login/code/", {"code": code(secret)}).status_code == 401, "a code is good once"
    assert door.post("/login/code/", {"code": codes[0]})["Location"] == "/portal/"

    fresh = client.post("/account/second-step/recovery-codes/", {"current_password": PASSWORD}).content.decode()
    assert codes[1] not in fresh
    assert client.post("/account/second-step/remove/", {"current_password": PASSWORD})["Location"] == "/account/"
    assert Client().post("/login/", {"username": "ada", "password": PASSWORD})["Location"] == "/portal/"


def test_half_a_sign_in_is_worth_little_for_five_minutes(app, user, time):
    secret, _ = app
    assert Client().get("/login/code/")["Location"] == "/login/"
    assert Client().post("/login/code/", {"code": code(secret)})["Location"] == "/login/"
    door, late = Client(), Client()
    for each in (door, late):
        each.post("/login/", {"username": "ada", "password": PASSWORD})
    user.set_password(NEW)
    user.save()
    assert door.post("/login/code/", {"code": code(secret)})["Location"] == "/login/", "the password changed meanwhile"
    late.post("/login/", {"username": "ada", "password": NEW})
    time.sleep(301)
    assert late.post("/login/code/", {"code": code(secret)})["Location"] == "/login/"


def test_codes_are_guessed_slowly(app, user):
    door = Client()
    answers = []
    for n in range(12):
        door.post("/login/", {"username": "ada", "password": PASSWORD})
        answers.append(door.post("/login/code/", {"code": f"{n:06}"}).status_code)
    assert answers == [401] * 10 + [429] * 2


def test_an_administrator_sees_and_ends_sign_ins(app, admin, user):
    theirs = browser(user)
    row, text = tokens.make(user, "nightly")
    client = browser(admin)
    page = client.get("/people/of/ada/").content.decode()
    assert row.pk in page
    assert "Turn off" in page
    answer = client.post(f"/account/tokens/{row.pk}/revoke/", {"next": "/people/of/ada/"})
    assert answer["Location"] == "/people/of/ada/"
    assert tokens.known(text) is None
    assert client.post("/people/of/ada/second-step/")["Location"] == "/people/of/ada/"
    assert not second_step.is_on(user)
    for _ in range(10):
        Client().post("/login/", {"username": "ada", "password": "guess"})
    assert "Let sign in now" in client.get("/people/of/ada/").content.decode()
    assert client.post("/people/of/ada/unlock/").status_code == 302
    assert lock_out.until(user) == 0
    assert client.post("/people/of/ada/deactivate/").status_code == 302
    assert theirs.get("/portal/").status_code == 302
    assert "Deactivated" in client.get("/people/").content.decode()
    assert "Reactivate" in client.get("/people/of/ada/").content.decode()
    assert client.post("/people/of/ada/reactivate/").status_code == 302
    assert browser(user).get("/portal/").status_code == 200
