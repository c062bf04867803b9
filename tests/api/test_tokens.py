"""API tokens: made, listed, scoped, ending, revoked; what a token that was made may not."""

import pytest
from rest_framework.test import APIClient

from clc.services import tokens
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused
from luhyadb.models import ApiToken, Event
from tests.support.clc_world import PASSWORD

DAY_S = tokens.DAY_S


@pytest.fixture
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


def bearer(text):
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}", REMOTE_ADDR="10.1.2.3")
    return client


def create(client, name="nightly", **more):
    return client.post("/api/v1/tokens/", {"name": name, **more}, format="json")


def test_a_token_is_told_once_and_only_its_hash_is_kept(world, user, api):
    client = api(user)
    made = create(client, days=7).json()
    text = made["token"]
    assert text.startswith("eat.")
    row = ApiToken.objects.get(pk=made["id"])
    assert text not in str(vars(row))
    assert text.removeprefix("eat.") not in str(list(Event.objects.values_list("fields", flat=True)))
    told = Event.objects.get(what="token made", fields__name="nightly")
    assert (told.fields["made"], told.actor_name, told.owner_id) == (row.pk, "ada", user.pk)
    assert bearer(text).get("/api/v1/users/me/").json()["username"] == "ada"
    shown = next(t for t in client.get("/api/v1/tokens/").json()["results"] if t["id"] == row.pk)
    assert "token" not in shown
    assert (shown["name"], shown["scope"], shown["signed_in"], shown["used_from"]) == ("nightly", "all", False, "10.1.2.3")
    assert [t["current"] for t in client.get("/api/v1/tokens/").json()["results"]] == [False, True]


def test_a_token_ends(world, user, time, api):
    text = create(api(user), days=7).json()["token"]
    time.sleep(7 * DAY_S - 1)
    assert bearer(text).get("/api/v1/users/me/").status_code == 200
    time.sleep(2)
    assert bearer(text).get("/api/v1/users/me/").status_code == 401
    assert not tokens.of(user, user).filter(name="nightly").exists()
    tokens.tidy()
    assert not ApiToken.objects.filter(name="nightly").exists()


def test_a_sign_in_is_renewed_by_use_up_to_a_limit(world, user, time):
    _, unused = tokens.signed_in(user)
    _, used = tokens.signed_in(user)
    for _ in range(3):
        time.sleep(25 * DAY_S)
        assert bearer(used).get("/api/v1/users/me/").status_code == 200
    assert bearer(unused).get("/api/v1/users/me/").status_code == 401
    time.sleep(14 * DAY_S)
    assert bearer(used).get("/api/v1/users/me/").status_code == 200
    time.sleep(1.1 * DAY_S)
    assert bearer(used).get("/api/v1/users/me/").status_code == 401, "ninety days after the sign-in"


def test_use_is_noted_once_a_minute(world, user, time, django_assert_num_queries):
    _, text = tokens.signed_in(user)
    with django_assert_num_queries(2):
        tokens.known(text)
    with django_assert_num_queries(1):
        tokens.known(text)
    time.sleep(61)
    with django_assert_num_queries(2):
        tokens.known(text)


def test_a_token_that_reads_changes_nothing(world, admin, api):
    world.cluster()
    row = world.instance(admin, world.image(admin), state="running", node="nc-00000001")
    client = bearer(create(api(admin), scope="read").json()["token"])
    assert client.get("/api/v1/instances/").status_code == 200
    for method, path in (("post", "instances/"), ("delete", f"instances/{row.pk}/"), ("post", f"instances/{row.pk}/stop/"),
                         ("post", f"instances/{row.pk}/screen/"), ("post", f"instances/{row.pk}/tunnel/"), ("patch", "images/tiny/"), ("post", "users/")):
        answer = getattr(client, method)(f"/api/v1/{path}", {}, format="json")
        assert (answer.status_code, answer.json()["what"]) == (403, "This token may only read"), path


def test_a_token_that_was_made_is_not_the_account(world, user, api):
    mine = api(user)
    made = create(mine).json()
    client = bearer(made["token"])
    for method, path, body in (
        ("post", "tokens/", {"name": "child"}), ("delete", f"tokens/{made['id']}/", None),
        ("post", "users/me/password/", {"password": "another horse battery", "current_password": PASSWORD}),
        ("post", "users/me/second-step/", {"current_password": PASSWORD}), ("post", "users/me/second-step/confirm/", {"code": "1"}),
        ("post", "users/me/second-step/remove/", {"current_password": PASSWORD}), ("post", "sessions/end-others/", {}),
        ("delete", "sessions/ses-00000000/", None),
    ):
        answer = getattr(client, method)(f"/api/v1/{path}", body, format="json")
        assert (answer.status_code, answer.json()["what"]) == (403, "This token may not change how the account signs in"), path
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert client.get("/api/v1/tokens/").status_code == 200


@pytest.mark.parametrize(("body", "field"), [
    ({"name": ""}, "name"), ({"name": "x" * 64}, "name"), ({"name": "a\u202eb"}, "name"), ({"name": "x", "days": 0}, "days"),
    ({"name": "x", "days": 366}, "days"), ({"name": "x", "days": "7"}, "days"), ({"name": "x", "scope": "root"}, "scope"),
    ({"name": "x", "account": 1}, "account"), ({"name": "x", "expires_at": 9e9}, "expires_at"),
])
def test_what_cannot_be_is_refused_by_its_field(world, user, api, body, field):
    answer = api(user).post("/api/v1/tokens/", body, format="json")
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert not ApiToken.objects.filter(renewed_until=0).exists()


def test_tokens_of_others_are_not_there(world, admin, user, other, api):
    made = create(api(user)).json()
    stranger = api(other)
    assert stranger.delete(f"/api/v1/tokens/{made['id']}/").status_code == 404
    assert stranger.get("/api/v1/users/ada/tokens/").status_code == 403
    assert made["id"] not in str(stranger.get("/api/v1/tokens/").json())
    assert bearer(made["token"]).get("/api/v1/users/me/").status_code == 200
    assert made["id"] in [t["id"] for t in api(admin).get("/api/v1/users/ada/tokens/").json()["results"]]
    assert made["id"] not in str(api(admin).get("/api/v1/tokens/").json()), "one's own are one's own"
    assert api(admin).delete(f"/api/v1/tokens/{made['id']}/").status_code == 204
    assert bearer(made["token"]).get("/api/v1/users/me/").status_code == 401
    assert Event.objects.get(what="token revoked").fields == {"made": made["id"], "name": "nightly", "scope": "all"}


def test_a_session_makes_one_only_with_its_csrf_token(world, user):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    assert create(client).status_code == 403
    assert client.delete("/api/v1/tokens/tok-00000000/").status_code == 403
    assert not ApiToken.objects.exists()


def test_they_are_bounded(world, user, monkeypatch):
    monkeypatch.setattr(tokens, "EACH_AT_MOST", 3)
    for n in range(3):
        tokens.make(user, f"t{n}")
    with pytest.raises(Refused, match="too many") as refused:
        tokens.make(user, "more")
    assert refused.value.code == "quota"
    first = tokens.signed_in(user)[1]
    for _ in range(3):
        tokens.signed_in(user)
    assert tokens.known(first) is None
    assert ApiToken.objects.filter(account=user).count() == 6


def test_one_key_makes_one_token(world, user, api):
    client = api(user)
    answers = [client.post("/api/v1/tokens/", {"name": "x"}, format="json", HTTP_IDEMPOTENCY_KEY="k").json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert ApiToken.objects.filter(name="x").count() == 1


def test_a_deactivated_account_has_no_token(world, user):
    _, text = tokens.signed_in(user)
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    assert tokens.known(text) is None
    with pytest.raises(Refused, match="no more"):
        tokens.make(user, "x")
