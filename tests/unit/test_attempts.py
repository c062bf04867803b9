"""Guessing passwords is slow, by name and by address, also when many try at once."""

from __future__ import annotations

import threading

import pytest
from rest_framework.exceptions import Throttled

from clc.web.api.attempts import AT_MOST, AT_MOST_OF_ADDRESS, WITHIN_S, Attempts
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused, Unavailable

pytestmark = pytest.mark.usefixtures("time")


def _fail(attempts: Attempts, name: str, address: str = "a") -> None:
    with pytest.raises(Refused), attempts.of((address, name)):
        raise Refused("unauthenticated", "Name or password is wrong")


def test_one_name_is_guessed_ten_times_a_minute(time: ManualClock) -> None:
    attempts = Attempts()
    for _ in range(AT_MOST):
        _fail(attempts, "ada")
    with pytest.raises(Throttled), attempts.of(("a", "ada")):
        raise AssertionError
    with attempts.of(("b", "ada")):
        pass
    time.sleep(WITHIN_S + 1)
    _fail(attempts, "ada")


def test_one_address_does_not_try_the_same_password_on_everybody() -> None:
    attempts = Attempts()
    for n in range(AT_MOST_OF_ADDRESS):
        _fail(attempts, f"user{n}")
    with pytest.raises(Throttled), attempts.of(("a", "another")):
        raise AssertionError
    with attempts.of(("b", "another")):
        pass


def test_attempts_under_way_count_and_success_forgives() -> None:
    attempts = Attempts(threading.BoundedSemaphore(AT_MOST))
    under_way = [attempts.of(("a", "ada")) for _ in range(AT_MOST)]
    for each in under_way:
        each.__enter__()
    with pytest.raises(Throttled), attempts.of(("a", "ada")):
        raise AssertionError
    for each in under_way:
        each.__exit__(None, None, None)
    for _ in range(10 * AT_MOST_OF_ADDRESS):
        with attempts.of(("a", "ada")):
            pass


def test_only_so_many_passwords_are_checked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clc.web.api.attempts._TURN_WITHIN_S", 0.01)
    attempts = Attempts(threading.BoundedSemaphore(1))
    with attempts.of(("a", "ada")):
        for _ in range(2 * AT_MOST):
            with pytest.raises(Unavailable, match="Too many"), attempts.of(("a", "bob")):
                raise AssertionError
    with attempts.of(("a", "bob")):
        pass


def test_what_is_not_a_wrong_password_counts_for_nothing() -> None:
    attempts = Attempts()
    for _ in range(2 * AT_MOST):
        with pytest.raises(OSError, match="database"), attempts.of(("a", "ada")):
            raise OSError("database")
    _fail(attempts, "ada")
