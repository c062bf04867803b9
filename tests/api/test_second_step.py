"""The second step: codes by RFC 6238, once each, a step early or late; recovery codes; who turns it off."""

import base64

import pytest

from clc.services import second_step, sign_in, tokens
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused
from luhyadb.models import Event, SecondStep
from tests.support.clc_world import PASSWORD

ME = "/api/v1/users/me/second-step/"


@pytest.fixture(autouse=True)
def time():
    mine = ManualClock()
    before = clock.use(mine)
    yield mine
    clock.use(before)


def code(secret, steps=0):
    return second_step.code_at(secret, int(clock.now() // 30) + steps)


@pytest.fixture
def app(world, user, time):
    """The secret of ada's app, turned on, and her recovery codes."""
    secret = base64.b32decode(second_step.enrol(user).secret)
    codes = second_step.confirm(user, code(secret))
    time.sleep(90)
    return secret, codes


def wrong(user, typed):
    with pytest.raises(Refused, match="The code is wrong") as refused:
        second_step.check(user, typed)
    return refused.value.code == "unauthenticated"


@pytest.mark.parametrize(("at", "shown"), [
    (59, "94287082"), (1111111109, "07081804"), (1111111111, "14050471"), (1234567890, "89005924"), (2000000000, "69279037"),
    (20000000000, "65353130"),
])
def test_codes_are_those_of_the_rfc(at, shown):
    assert second_step.code_at(b"12345678901234567890", at // 30) == shown[-6:]


def test_a_code_is_good_once_and_a_step_early_or_late(app, user, time):
    secret, _ = app
    second_step.check(user, code(secret, -1))
    assert wrong(user, code(secret, -1)), "again"
    now = code(secret)
    second_step.check(user, f" {now[:3]} {now[3:]} ")
    assert wrong(user, code(secret, -1)), "an older one after a newer one"
    second_step.check(user, code(secret, 1))
    assert wrong(user, code(secret, 1))
    time.sleep(60)
    assert wrong(user, code(secret, 2))
    assert wrong(user, code(secret, -2))
    second_step.check(user, code(secret))


@pytest.mark.parametrize("typed", ["000000x", "0", "-", "\u0660" * 6, "\ud800", "9" * 40, "null"])
def test_nonsense_is_wrong(app, user, typed):
    assert wrong(user, typed)


def test_a_recovery_code_is_good_once(app, user):
    _, codes = app
    assert len(set(codes)) == 10
    second_step.check(user, codes[3].upper().replace("-", " "))
    assert wrong(user, codes[3])
    assert second_step.codes_left(user) == 9
    assert Event.objects.get(what="recovery code used").fields == {"left": 9}
    fresh = second_step.new_recovery_codes(user)
    assert wrong(user, codes[4])
    second_step.check(user, fresh[0])


def test_a_copy_of_the_table_opens_nothing(app, user, settings):
    secret, codes = app
    kept = str(SecondStep.objects.values().get())
    assert base64.b32encode(secret).decode() not in kept
    assert base64.b64encode(secret).decode() not in kept
    assert not [c for c in codes if c in kept or c.replace("-", "") in kept]
    assert not [e for e in Event.objects.values_list("fields", flat=True) if base64.b32encode(secret).decode() in str(e)]
    settings.SECRET_KEY = "another"
    with pytest.raises(Refused, match="cannot be checked any more"):
        second_step.check(user, code(secret))


def test_signing_in_needs_both(app, user, api):
    secret, _ = app
    ask = lambda **more: api(None).post("/api/v1/login/", {"username": "ada", "password": PASSWORD, **more}, format="json")  # noqa: E731
    assert (ask().status_code, ask().json()["code"]) == (401, "second_step")
    assert ask(code="000000").json()["code"] == "unauthenticated"
    assert ask(password="guess", code=code(secret)).json()["what"] == "Name or password is wrong", "a code is not tried for a wrong password"
    good = code(secret)
    assert ask(code=good).status_code == 200
    assert ask(code=good).status_code == 401, "said again"


def test_it_is_turned_on_by_its_first_code(world, user, api):
    client = api(user)
    assert client.get(ME).json() == {"on": False, "recovery_codes_left": 0}
    assert client.post(ME, {"current_password": "guess"}, format="json").json()["field"] == "current_password"
    made = client.post(ME, {"current_password": PASSWORD}, format="json").json()
    secret = base64.b32decode(made["secret"])
    assert made["uri"] == f"otpauth://totp/eduCloud%3Aada?secret={made['secret']}&issuer=eduCloud"
    picture = base64.b64decode(made["qr"].removeprefix("data:image/svg+xml;base64,")).decode()
    assert "<svg" in picture
    assert "<script" not in picture
    assert sign_in.token("ada", PASSWORD), "not before a code was seen"
    assert client.post(f"{ME}confirm/", {"code": "000000"}, format="json").json()["field"] == "code"
    codes = client.post(f"{ME}confirm/", {"code": code(secret)}, format="json").json()["recovery_codes"]
    assert client.get(ME).json() == {"on": True, "recovery_codes_left": 10}
    with pytest.raises(Refused) as refused:
        sign_in.token("ada", PASSWORD, code(secret))
    assert refused.value.code == "unauthenticated", "the code that turned it on was used"
    assert sign_in.token("ada", PASSWORD, codes[0])
    assert client.post(ME, {"current_password": PASSWORD}, format="json").json()["code"] == "state"
    assert client.post(f"{ME}recovery-codes/", {"current_password": "guess"}, format="json").status_code == 422
    assert client.post(f"{ME}recovery-codes/", {"current_password": PASSWORD}, format="json").json()["recovery_codes"] != codes
    assert client.post(f"{ME}remove/", {"current_password": "guess"}, format="json").status_code == 422
    assert client.post(f"{ME}remove/", {"current_password": PASSWORD}, format="json").status_code == 204
    assert sign_in.token("ada", PASSWORD)
    for path in ("confirm/", "remove/", "recovery-codes/"):
        body = {"code": "000000"} if path == "confirm/" else {"current_password": PASSWORD}
        assert client.post(ME + path, body, format="json").json()["code"] == "state", path
    assert [e.what for e in Event.objects.filter(what__startswith="second step").order_by("id")] == ["second step turned on", "second step turned off"]


def test_an_administrator_turns_it_off_for_others_only(app, admin, user, other, api):
    assert api(admin).get("/api/v1/users/ada/").json()["second_step"]
    assert api(other).delete("/api/v1/users/ada/second-step/").status_code == 403
    assert api(admin).delete("/api/v1/users/root/second-step/").status_code == 403
    assert second_step.is_on(user)
    assert api(admin).delete("/api/v1/users/ada/second-step/").status_code == 204
    assert api(admin).delete("/api/v1/users/ada/second-step/").json()["code"] == "state"
    assert Event.objects.get(what="second step turned off").fields == {"name": "ada"}
    assert sign_in.token("ada", PASSWORD)


def test_a_token_needs_no_code(app, user, api):
    assert tokens.known(tokens.signed_in(user)[1])


def test_no_secret_stands_in_a_log_or_an_event(app, user, api, caplog):
    secret, codes = app
    caplog.set_level(0)
    typed = code(secret)
    answer = api(None).post("/api/v1/login/", {"username": "ada", "password": PASSWORD, "code": typed}, format="json")
    text = answer.json()["token"]
    client = api(None)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    made = client.post("/api/v1/tokens/", {"name": "x"}, format="json").json()["token"]
    wrong = [
        api(None).post("/api/v1/login/", {"username": "ada", "password": "wrong secret", "code": codes[1]}, format="json"),
        api(None).post("/api/v1/login/", {"username": "ada", "password": PASSWORD, "code": "424242"}, format="json"),
        client.post("/api/v1/users/me/password/", {"password": "short", "current_password": PASSWORD}, format="json"),
        client.post("/api/v1/users/me/password/", {"password": "another horse battery", "current_password": "wrong secret"}, format="json"),
    ]
    assert {a.status_code for a in wrong} == {401, 422}
    told = caplog.text + str(list(Event.objects.values())) + "".join(a.content.decode() for a in wrong)
    assert "/api/v1/login/" in caplog.text
    for each in (PASSWORD, "wrong secret", "another horse", "424242", text, made, codes[1], base64.b32encode(secret).decode()):
        assert each not in told, each
