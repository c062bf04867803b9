"""A password somebody else chose opens one door, at every place: choosing another. And what deactivation and sessions end."""

import pytest
from django.test import Client
from rest_framework.test import APIClient

from clc.services import people, sessions, sign_in, sign_in_pictures, tokens
from clc.web import audience
from luhyaapi.errors import Refused
from luhyadb.models import BrowserSession, Event, ScreenTicket
from tests.api.test_access import routes
from tests.support.clc_world import PASSWORD

NEW = "another horse battery"
OPEN = {"api/v1/account-requests/ask/", "api/v1/account-requests/state/", "api/v1/login/", "api/v1/users/me/", "api/v1/users/me/password/"}


@pytest.fixture
def newcomer(world, admin):
    return people.add(admin, "eve", PASSWORD)


def test_the_api_opens_one_door(newcomer, api):
    from clc.web.api.routes import api as known

    client = api(newcomer)
    tried = 0
    for route in routes(known, "api/v1/"):
        if route in OPEN or route == "api/v1/events":
            continue
        path = "/" + route.replace("<int:version>", "1").replace("<str:", "").replace(">", "")
        for method in ("get", "post", "delete"):
            answer = getattr(client, method)(path, {}, format="json")
            assert (answer.status_code, answer.json()["code"]) == (403, "password_change"), (method, path)
            tried += 1
    assert tried > 200
    assert client.get("/api/v1/users/me/").json()["password_change"]
    same = client.post("/api/v1/users/me/password/", {"password": PASSWORD, "current_password": PASSWORD}, format="json")
    assert (same.status_code, same.json()["field"]) == (422, "password"), "the same again is not another one"
    assert client.post("/api/v1/users/me/password/", {"password": NEW, "current_password": PASSWORD}, format="json").status_code == 204
    made = api(None).post("/api/v1/login/", {"username": "eve", "password": NEW}, format="json").json()
    assert not made["password_change"]
    assert api(None).get("/api/v1/instances/", HTTP_AUTHORIZATION=f"Bearer {made['token']}").status_code == 200


def test_streams_and_screens_refuse_it(newcomer):
    headers = {"authorization": f"Bearer {tokens.signed_in(newcomer)[1]}"}
    with pytest.raises(Refused) as refused:
        audience.admitted(headers)
    assert refused.value.code == "password_change"
    assert audience.account_of(headers) is None


def test_figures_for_administrators_refuse_it(world, admin, api):
    client = api(people.add(admin, "eve", PASSWORD, "superAdm"))
    answer = client.get("/metrics", REMOTE_ADDR="192.0.2.1")
    assert (answer.status_code, answer.json()["code"]) == (403, "password_change")
    assert api(admin).get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 200


def test_a_token_that_reads_opens_no_screen(world, user):
    headers = {"authorization": f"Bearer {tokens.make(user, 'x', tokens.READ)[1]}"}
    assert audience.account_of(headers) == user
    assert audience.account_of(headers, reads=False) is None


def test_pages_lead_to_the_one_door(newcomer):
    client = Client()
    answer = client.post("/login/", {"username": "eve", "password": PASSWORD, "next": "/tasks/"})
    assert answer["Location"] == "/account/password/"
    for path in ("/", "/portal/", "/instances/", "/account/", "/tasks/"):
        assert client.get(path)["Location"] == "/account/password/", path
    assert client.post("/account/tokens/add/", {"name": "x", "days": "1"})["Location"] == "/account/password/"
    assert client.get("/instances/rows/", headers={"HX-Request": "true"}).status_code == 403
    text = client.get("/account/password/").content.decode()
    assert "Choose a password of your own" in text
    assert "live.js" not in text
    assert 'href="/instances/"' not in text
    key = client.session.session_key
    sent = {"current_password": PASSWORD, "password": NEW, "password_again": NEW}
    assert client.post("/account/password/", sent)["Location"] == "/portal/"
    assert client.session.session_key != key
    assert client.get("/portal/").status_code == 200
    assert client.get("/account/").status_code == 200


def test_who_chose_it_decides(world, admin, user):
    assert not user.must_change_password
    people.set_password(user, NEW, by=admin)
    assert user.must_change_password
    people.set_password(user, PASSWORD)
    assert not user.must_change_password
    with pytest.raises(Refused, match="Nobody resets"):
        people.set_password(admin, NEW, by=admin)


@pytest.mark.parametrize("password", ["short", "password1234", "ada.lovelace", "1234567890"])
def test_passwords_have_rules(world, password):
    with pytest.raises(Refused, match="not strong enough") as refused:
        people.add(None, "ada.lovelace", password)
    assert refused.value.params["field"] == "password"


def browser(account):
    client = Client()
    client.force_login(account)
    return client


def test_sessions_are_listed_and_ended(world, admin, user, other, api):
    first, second = browser(user), browser(user)
    answer = Client().post("/login/", {"username": "ada", "password": PASSWORD}, HTTP_USER_AGENT="Fire\x00fox", REMOTE_ADDR="10.9.8.7")
    assert answer.status_code == 302
    found = first.get("/api/v1/sessions/").json()["results"]
    assert sum(s["current"] for s in found) == 1
    told = Event.objects.get(what="signed in")
    assert (told.origin, told.owner_id, told.fields["made"] in {s["id"] for s in found}) == ("10.9.8.7", user.pk, True)
    assert ("Firefox", "10.9.8.7") in {(s["agent"], s["address"]) for s in found}
    assert not {s.session_key for s in BrowserSession.objects.all()} & set(str(found).split("'")), "the key is the browser's secret"
    ident = second.get("/api/v1/sessions/").json()["results"]
    ident = next(s["id"] for s in ident if s["current"])
    assert api(other).delete(f"/api/v1/sessions/{ident}/").status_code == 404
    assert api(other).get("/api/v1/users/ada/sessions/").status_code == 403
    assert second.get("/portal/").status_code == 200
    assert api(user).delete(f"/api/v1/sessions/{ident}/").status_code == 204
    assert second.get("/portal/").status_code == 302
    assert Event.objects.get(what="session ended").fields == {"session": ident}
    csrf = {"headers": {"X-CSRFToken": "x"}}
    assert first.post("/api/v1/sessions/end-others/", {}, content_type="application/json", **csrf).status_code == 204
    assert [s["current"] for s in first.get("/api/v1/sessions/").json()["results"]] == [True]
    left = api(admin).get("/api/v1/users/ada/sessions/").json()["results"]
    assert [s["current"] for s in left] == [False]
    assert api(admin).delete(f"/api/v1/sessions/{left[0]['id']}/").status_code == 204
    assert first.get("/portal/").status_code == 302


def test_a_session_with_another_key_has_another_name(world, user):
    """Django gives a session another key while the row of the old one is there."""
    session = browser(user).session
    before, name = session.session_key, sessions.ident_of(session)
    session.cycle_key()
    session.save()
    (row,) = BrowserSession.objects.filter(account=user)
    assert before != session.session_key == row.session_key
    assert name != sessions.ident_of(session) == row.ident
    client = Client()
    client.get("/login/")
    assert not BrowserSession.objects.exclude(account=user).exclude(ident=None).exists(), "who is not signed in has no name"


@pytest.mark.parametrize(("agent", "name"), [
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0", "Edge, Windows"),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_1) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15", "Safari, macOS"),
    ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Mobile Safari/537.36", "Chrome, Android"),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox, Linux"), ("curl/8", "curl/8"), ("", ""),
])
def test_browsers_are_called_as_people_call_them(agent, name):
    assert sign_in_pictures.called(agent) == name


def test_a_session_is_one_row_however_often_it_is_saved(world, user):
    client = browser(user)
    before = BrowserSession.objects.values("ident", "created_at", "account").get()
    session = client.session
    session["x"] = 1
    session.save()
    assert BrowserSession.objects.values("ident", "created_at", "account").get() == before


def test_ending_them_needs_the_csrf_token(world, user):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    for method, path in (("post", "end-others/"), ("delete", "ses-00000000/")):
        assert getattr(client, method)(f"/api/v1/sessions/{path}").status_code == 403


def test_ended_sessions_are_forgotten(world, user):
    browser(user)
    BrowserSession.objects.update(expire_date="2020-01-01T00:00:00Z")
    assert not sessions.of(user, user)
    sessions.tidy()
    assert not BrowserSession.objects.exists()


def test_a_deactivated_account_is_out_at_once_and_comes_back(world, admin, user, other, api):
    world.cluster()
    row = world.instance(user, world.image(admin), state="running", node="nc-00000001")
    client, page = api(user), browser(user)
    client.post(f"/api/v1/instances/{row.pk}/screen/")
    for path in ("deactivate", "reactivate"):
        assert api(other).post(f"/api/v1/users/ada/{path}/").status_code == 403
    assert api(admin).post("/api/v1/users/ada/deactivate/").json()["active"] is False
    assert client.get("/api/v1/users/me/").status_code == 401
    assert page.get("/portal/").status_code == 302
    assert not ScreenTicket.objects.exists()
    with pytest.raises(Refused, match="Name or password is wrong"):
        sign_in.token("ada", PASSWORD)
    assert api(admin).post("/api/v1/users/ada/deactivate/").json()["code"] == "state"
    row.refresh_from_db()
    assert (row.owner_id, row.state) == (user.pk, "running")
    assert api(admin).post("/api/v1/users/ADA/reactivate/").json()["active"] is True
    assert api(admin).post("/api/v1/users/ada/reactivate/").json()["code"] == "state"
    assert sign_in.token("ada", PASSWORD)
    assert client.get("/api/v1/users/me/").status_code == 401, "what was ended stays so"


def test_nobody_deactivates_themselves_nor_the_last_administrator(world, admin):
    with pytest.raises(Refused, match="signed in with"):
        people.deactivate(admin, "root")
    second = world.account("eve", "superAdm")
    people.deactivate(second, "root")
    with pytest.raises(Refused, match="last administrator cannot be deactivated"):
        people.deactivate(admin, "eve")
    people.delete(second, "root")
    assert not type(admin).objects.filter(username="root").exists()
