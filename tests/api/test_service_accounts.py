"""Accounts of programs: no password, and tokens made by who manages them."""

import pytest

from clc.services import people, sign_in, tokens
from luhyaapi.errors import Refused
from luhyadb.models import Account, ApiToken, Event
from tests.api.test_cli_contract import cli  # noqa: F401 - a fixture
from tests.console.test_request_pages import browser, text

API = "/api/v1/users/"


@pytest.fixture
def robot(world, admin, api):
    world.group("edu.a", admin)
    made = api(admin).post(f"{API}service/", {"username": "nightly", "group": "edu.a"}, format="json")
    assert (made.status_code, made.json()["service"], made.json()["password_change"]) == (201, True, False)
    return Account.objects.get(username="nightly")


@pytest.mark.parametrize("password", ["", "!", "nightly", "correct horse battery", None])
def test_nobody_signs_in_to_it(robot, api, password):
    assert not robot.has_usable_password()
    answer = api(None).post("/api/v1/login/", {"username": "nightly", "password": password if password is not None else robot.password}, format="json")
    assert answer.status_code in (401, 422)
    with pytest.raises(Refused):
        sign_in.by_password("nightly", robot.password)


def test_who_manages_it_makes_lists_and_revokes_its_tokens(robot, world, api, admin):
    tina, mona = world.account("tina", "powerAdm", "edu.a"), world.account("mona", "powerAdm", "edu.b")
    paul = world.account("paul", "user", "edu.a")
    where = f"{API}nightly/tokens/"
    form = {"name": "backup", "scope": "read", "days": 30}
    assert api(mona).post(where, form, format="json").status_code == 404
    assert api(paul).post(where, form, format="json").status_code == 403
    assert api(None).post(where, form, format="json").status_code == 401
    made = api(tina).post(where, form, format="json")
    assert (made.status_code, made.json()["scope"], made.json()["username"]) == (201, "read", "nightly")
    text = made.json()["token"]
    me = api(None).get("/api/v1/users/me/", HTTP_AUTHORIZATION=f"Bearer {text}")
    assert (me.status_code, me.json()["username"]) == (200, "nightly")
    assert Event.objects.get(what="token made").actor_name == "tina"
    assert [t["name"] for t in api(tina).get(where).json()["results"]] == ["backup"]
    ident = made.json()["id"]
    for who in (mona, paul):
        assert api(who).delete(f"/api/v1/tokens/{ident}/").status_code == 404
    assert api(tina).delete(f"/api/v1/tokens/{ident}/").status_code == 204
    assert tokens.known(text) is None


def test_a_person_makes_their_own_and_a_robot_none(robot, world, api, admin, user):
    refused = api(admin).post(f"{API}ada/tokens/", {"name": "x"}, format="json")
    assert (refused.status_code, refused.json()["what"]) == (403, "ada is a person")
    text = tokens.make(robot, "x", by=admin)[1]
    for path in ("/api/v1/tokens/", f"{API}nightly/tokens/"):
        assert api(None).post(path, {"name": "more"}, format="json", HTTP_AUTHORIZATION=f"Bearer {text}").status_code == 403
    assert ApiToken.objects.filter(account=robot).count() == 1
    assert not api(world.account("tina", "powerAdm", "edu")).get(f"{API}ada/tokens/").json().get("results"), "of people only administrators list them"


def test_nobody_makes_a_token_that_may_do_more_than_they(robot, world, api, admin):
    tina = world.account("tina", "powerAdm", "edu.a")
    people.place(admin, "nightly", role="superAdm", group="everybody")
    assert api(tina).post(f"{API}nightly/tokens/", {"name": "x"}, format="json").status_code == 404
    people.place(admin, "nightly", role="powerAdm", group="edu.a")
    from clc.services import access_roles, grants
    from luhyadb.models.groups import EVERYBODY

    assert access_roles.ALL == "superAdm"
    grants.give(admin, robot, "powerAdm", EVERYBODY)
    assert api(tina).post(f"{API}nightly/tokens/", {"name": "x"}, format="json").status_code == 403
    for form in ({"role": "superAdm"}, {"group": "edu.b"}):
        assert api(tina).post(f"{API}service/", {"username": "other", **form}, format="json").status_code in (403, 404, 422)


def test_the_last_administrator_is_a_person(robot, world, admin):
    people.place(admin, "nightly", role="superAdm", group="everybody")
    eve = world.account("eve", "superAdm")
    people.delete(eve, "root")
    with pytest.raises(Refused, match="last administrator"):
        people.place(eve, "eve", role="user")


def test_it_gets_no_password(robot, api, admin):
    refused = api(admin).post(f"{API}nightly/password/", {"password": "another horse battery"}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "state")
    with pytest.raises(Refused):
        people.set_password(robot, "another horse battery")
    assert not Account.objects.get(pk=robot.pk).has_usable_password()


def test_it_is_deactivated_and_deleted_like_any(robot, api, admin):
    text = tokens.make(robot, "x", by=admin)[1]
    people.deactivate(admin, "nightly")
    assert tokens.known(text) is None
    people.delete(admin, "nightly")
    assert not Account.objects.filter(username="nightly").exists()


def test_the_client_and_the_console_make_one_and_its_tokens(world, cli, admin, user):  # noqa: F811
    assert cli("user", "add", "robot", "--service")[1]["service"] is True
    assert cli("token", "create", "ci", "--user", "robot", "--read-only", "--days", "9")[1]["token"].startswith("eat.")
    client = browser(admin)
    assert client.post("/people/add/", {"username": "robot2", "service": "on", "group": "everybody"})["Location"] == "/people/of/robot2/"
    assert "New password" not in text(client.get("/people/of/robot2/"))
    assert "eat." in text(client.post("/people/of/robot2/tokens/add/", {"token_name": "x", "scope": "read"}))
    client.post("/people/of/ada/tokens/add/", {"token_name": "x"})
    assert "ada is a person" in text(client.get("/people/of/ada/"))
    assert browser(user).post("/people/of/robot2/tokens/add/", {"token_name": "x"}).status_code == 404
