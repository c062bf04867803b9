"""Guessing is slow: by name and address, by address, and a little by name; whoever is meant is never kept out for long."""

import contextlib

import pytest
from django.conf import settings

from clc.services import lock_out, people, second_step, sign_in
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Event, Guess
from tests.support.clc_world import PASSWORD

FREE = settings.EDUCLOUD.accounts.attempts
FIRST_S, LONGEST_S = settings.EDUCLOUD.accounts.wait_s, settings.EDUCLOUD.accounts.longest_wait_s


@pytest.fixture(autouse=True)
def time():
    mine = ManualClock()
    before = clock.use(mine)
    yield mine
    clock.use(before)


def wrong(name="ada", address="192.0.2.1"):
    with pytest.raises(Refused, match="Name or password is wrong"):
        sign_in.by_password(name, "guess", address)


def waits(name="ada", address="192.0.2.1", password=PASSWORD):
    """How long the right password has to wait."""
    with pytest.raises(Refused, match="Too many wrong") as refused:
        sign_in.by_password(name, password, address)
    assert refused.value.code == "locked_out"
    return refused.value.params["wait_s"]


def quick(name, address):
    """A wrong attempt without the work of a password."""
    with contextlib.suppress(Refused), lock_out.attempt(name, address):
        raise Refused("unauthenticated", "Name or password is wrong")


def test_each_wait_is_longer_up_to_a_bound(world, user, time):
    for _ in range(FREE):
        wrong()
    found = []
    for _ in range(8):
        found.append(waits())
        time.sleep(found[-1])
        wrong()
    assert found[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert max(found) == found[-1] == LONGEST_S
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.2") == user, "from elsewhere nobody waits"
    time.sleep(LONGEST_S)
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.1") == user
    for _ in range(FREE - 1):
        wrong()
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.1") == user, "who was right begins anew"


def test_the_error_says_until_when(world, user, time):
    for _ in range(FREE):
        wrong()
    with pytest.raises(Refused) as refused:
        sign_in.by_password("ada", PASSWORD, "192.0.2.1")
    assert refused.value.why == f"the next one is possible at {clock.rfc3339(clock.now() + FIRST_S)}"


def test_waiting_attempts_do_not_count(world, user, time):
    for _ in range(FREE):
        wrong()
    for _ in range(50):
        waits()
    assert waits() == FIRST_S


def test_a_name_nobody_has_is_like_any_other(world, user, time):
    for _ in range(FREE):
        wrong("nobody")
    assert waits("nobody") == FIRST_S
    assert {g.name for g in Guess.objects.all()} == {"", lock_out.digest("nobody")}, "what was typed may be a password"


def test_the_same_work_is_done_for_a_name_nobody_has(world, user, monkeypatch):
    from django.contrib.auth.hashers import MD5PasswordHasher

    hashed = []
    real = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda self, password, salt: hashed.append(password) or real(self, password, salt))
    wrong("nobody")
    times = len(hashed)
    wrong("ada")
    assert len(hashed) == 2 * times == 2


def test_names_are_one_in_any_case(world, user):
    for n in range(FREE):
        wrong("ada" if n % 2 else "ADA")
    waits("Ada")


def test_one_address_does_not_try_the_same_password_on_everybody(world, user, time):
    for n in range(6 * FREE):
        quick(f"user{n}", "192.0.2.1")
    assert waits() == FIRST_S
    time.sleep(60)
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.1") == user


def test_a_whole_network_of_ipv6_is_one_guesser(world, user):
    assert lock_out.place("2001:db8:1:2::7%eth0") == lock_out.place("2001:db8:1:2:ffff::9") != lock_out.place("2001:db8:1:3::7")
    for n in range(FREE):
        wrong(address=f"2001:db8:1:2::{n + 1}")
    waits(address="2001:db8:1:2:aaaa::1")


def test_guesses_from_everywhere_cost_the_teacher_a_minute_at_most(world, user, time):
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.200") == user
    for n in range(10 * FREE):
        quick("ada", f"10.0.{n}.1")
    assert waits(address="192.0.2.99") <= 60
    for _ in range(5):
        time.sleep(60)
        quick("ada", f"10.1.{int(clock.now()) % 250}.1")
        assert waits(address="192.0.2.99") <= 60
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.200") == user, "where she signed in before she waits for nobody"


def test_attempts_under_way_count(world, user):
    with contextlib.ExitStack() as under_way:
        for _ in range(FREE):
            under_way.enter_context(lock_out.attempt("ada", "192.0.2.1"))
        waits()
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.1") == user


def test_what_is_no_wrong_password_counts_for_nothing(world, user):
    for _ in range(2 * FREE):
        with pytest.raises(OSError, match="database"), lock_out.attempt("ada", "192.0.2.1"):
            raise OSError("database")
    assert Guess.objects.filter(count__gt=0.5).count() == 0


def test_right_passwords_are_never_too_many(world, user):
    for n in range(20 * FREE):
        with lock_out.attempt(f"user{n % 3}", "192.0.2.1"):
            pass


def test_only_so_many_passwords_are_checked_at_once(world, user, monkeypatch):
    import threading

    monkeypatch.setattr(sign_in, "_TURNS", threading.BoundedSemaphore(1))
    monkeypatch.setattr(sign_in, "_TURN_WITHIN_S", 0.01)
    with sign_in._turn():
        for _ in range(2 * FREE):
            with pytest.raises(Unavailable, match="Too many sign in"):
                sign_in.by_password("ada", PASSWORD, "192.0.2.1")
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.1") == user


def test_an_administrator_lifts_it(world, admin, user, other, api):
    for _ in range(FREE):
        wrong()
    assert api(admin).get("/api/v1/users/ada/").json()["locked_until"] == clock.rfc3339(clock.now() + FIRST_S)
    assert api(other).post("/api/v1/users/ada/unlock/").status_code == 403
    waits()
    assert api(admin).post("/api/v1/users/ada/unlock/").json()["locked_until"] is None
    assert sign_in.by_password("ada", PASSWORD, "192.0.2.1") == user
    assert Event.objects.get(what="lock lifted").fields == {"name": "ada"}


def test_a_new_password_lifts_it(world, admin, user):
    for _ in range(FREE):
        wrong()
    people.set_password(user, "another horse battery", by=admin)
    assert sign_in.by_password("ada", "another horse battery", "192.0.2.1") == user


def test_an_open_session_guesses_the_password_no_faster(world, user, api):
    """Also with a key for doing it once, whose transaction a refusal undoes."""
    client = api(user)
    answers = [
        client.post("/api/v1/users/me/password/", {"password": "another horse battery", "current_password": f"guess {n}"}, format="json",
                    **({"HTTP_IDEMPOTENCY_KEY": f"key{n}"} if n % 2 else {}))
        for n in range(FREE + 2)
    ]
    assert [a.status_code for a in answers] == [422] * FREE + [429] * 2
    assert answers[-1].json()["code"] == "locked_out"
    assert answers[-1]["Retry-After"] == str(int(FIRST_S))


def test_the_right_password_does_not_clear_the_count_of_codes(world, user, time):
    made = second_step.enrol(user)
    import base64

    secret = base64.b32decode(made.secret)
    second_step.confirm(user, second_step.code_at(secret, int(clock.now() // 30)))
    for _ in range(FREE):
        assert sign_in.by_password("ada", PASSWORD, "192.0.2.1") == user
        with pytest.raises(Refused, match="code is wrong"):
            sign_in.by_code(user, "000000", "192.0.2.1")
    assert waits() == FIRST_S


def test_empty_counts_are_forgotten(world, user, time):
    wrong()
    sign_in.by_password("ada", PASSWORD, "192.0.2.7")
    time.sleep(25 * 3600)
    lock_out.tidy()
    assert [g.address for g in Guess.objects.all()] == ["192.0.2.7"], "where she signed in is known longer"
    time.sleep(lock_out.KNOWN_S)
    lock_out.tidy()
    assert not Guess.objects.exists()
