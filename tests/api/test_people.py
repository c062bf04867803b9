"""Accounts: listed, shown, given a new password, deleted; and what each of it ends."""

import pytest

from clc.services import instances, people, pictures, sign_in
from luhyaapi.errors import Refused
from luhyadb.models import Account, Event, ScreenTicket
from tests.support.clc_world import PASSWORD

NEW = "another horse battery"


def test_only_an_administrator_manages_accounts(world, user, other, api):
    for method, path in (("get", ""), ("get", "bob/"), ("delete", "bob/"), ("post", "bob/password/")):
        answer = getattr(api(user), method)(f"/api/v1/users/{path}", {"password": NEW} if method == "post" else {}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    assert other.check_password(PASSWORD)


def test_an_account_is_shown_by_its_name(world, admin, user, api):
    shown = api(admin).get("/api/v1/users/ADA/").json()
    assert (shown["username"], shown["role"], shown["instances"], shown["last_login_at"]) == ("ada", "user", 0, None)
    assert api(admin).get("/api/v1/users/nobody/").json()["code"] == "not_found"
    assert api(admin).get("/api/v1/users/me/").json()["username"] == "root"
    with pytest.raises(Refused, match="not possible"):
        people.add(admin, "Me", NEW)


def test_a_deleted_account_is_gone_at_once_and_its_name_is_free(world, admin, user, api):
    client = api(user)
    before = user.pk
    assert client.get("/api/v1/users/me/").status_code == 200
    assert api(admin).delete("/api/v1/users/ada/").status_code == 204
    assert client.get("/api/v1/users/me/").status_code == 401
    with pytest.raises(Refused, match="wrong"):
        sign_in.token("ada", PASSWORD)
    with pytest.raises(Refused, match="wrong"):
        sign_in.token(Account.objects.get(pk=before).username, PASSWORD)
    assert [u["username"] for u in api(admin).get("/api/v1/users/").json()["results"]] == ["root"]
    assert api(admin).get("/api/v1/users/ada~2/").status_code == api(admin).delete("/api/v1/users/ada/").status_code == 404
    told = Event.objects.get(noun="user", what="user deleted")
    assert (told.fields["name"], told.actor_name, told.owner_id) == ("ada", "root", before)
    assert people.add(admin, "ada", NEW).pk != before


def test_what_a_deleted_account_did_keeps_its_owner(world, admin, user, api):
    world.cluster()
    row = world.instance(user, world.image(admin), state="deleted", live_name=None)
    people.delete(admin, "ada")
    row.refresh_from_db()
    assert pictures.instance(row)["owner"].startswith("ada~")


def test_who_has_instances_is_not_deleted(world, admin, user, api):
    world.cluster()
    row = world.instance(user, world.image(admin), "homework")
    answer = api(admin).delete("/api/v1/users/ada/")
    assert (answer.status_code, answer.json()["code"]) == (409, "state")
    assert f"homework ({row.pk})" in answer.json()["why"]
    assert "--with-everything" in answer.json()["hint"]
    assert api(user).get("/api/v1/users/me/").status_code == 200


def test_nobody_deletes_themselves_nor_the_last_administrator(world, admin, api):
    answer = api(admin).delete("/api/v1/users/root/")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    second = world.account("eve", "superAdm")
    people.delete(second, "root")
    with pytest.raises(Refused, match="last administrator") as refused:
        people.delete(admin, "eve")  # whoever was asked about a moment ago
    assert refused.value.code == "state"
    assert Account.objects.get(username="eve").is_active


def test_an_account_that_was_deleted_meanwhile_starts_nothing(world, admin, user):
    world.cluster()
    world.image(admin)
    people.delete(admin, "ada")
    with pytest.raises(Refused) as refused:
        instances.run(user, instances.Ask("tiny"))
    assert refused.value.code == "unauthenticated"


def test_a_new_password_ends_sessions_tokens_and_tickets(world, admin, user, api):
    world.cluster()
    row = world.instance(user, world.image(admin), state="running", node="nc-00000001")
    client = api(user)
    client.post(f"/api/v1/instances/{row.pk}/screen/")
    assert ScreenTicket.objects.filter(account=user).exists()
    assert api(admin).post("/api/v1/users/ada/password/", {"password": "short"}, format="json").json()["field"] == "password"
    assert client.get("/api/v1/users/me/").status_code == 200
    assert api(admin).post("/api/v1/users/ada/password/", {"password": NEW}, format="json").status_code == 204
    assert client.get("/api/v1/users/me/").status_code == 401
    assert not ScreenTicket.objects.exists()
    assert sign_in.token("ada", NEW)
    told = Event.objects.get(what="password reset")
    assert (told.fields, told.actor_name, str(told.via)) == ({"name": "ada"}, "root", "api")
