"""Errors: every code has a family, a next step and a way over the wire and back."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luhyaapi import errors
from luhyaapi.contracts.specs import Fault
from luhyaapi.errors import CODES, Bug, Failed, Refused, Trouble, Unavailable, from_wire, of

FAMILIES = {"refused": Refused, "unavailable": Unavailable, "failed": Failed, "bug": Bug}


@pytest.mark.parametrize("code", CODES.values(), ids=lambda c: c.name)
def test_a_code_says_what_and_what_next(code: errors.Code) -> None:
    assert code.family in FAMILIES
    assert code.title
    assert code.hint.endswith(".")
    assert 400 <= code.http < 600
    assert 0 < code.exit < 10
    assert (code.http >= 500) == (code.family != "refused")


@pytest.mark.parametrize("code", CODES)
def test_an_error_comes_over_the_wire_as_it_was(code: str) -> None:
    family = FAMILIES[CODES[code].family]
    error = Bug("What", "why") if family is Bug else family(code, "What", "why")
    back = from_wire(error.wire())
    assert type(back) is family
    assert back.wire() == error.wire()
    assert Fault(**error.wire()).model_dump() == error.wire()


def test_an_own_hint_wins_and_travels() -> None:
    error = Refused("state", "What", hint="Press the other button.")
    assert from_wire(error.wire()).hint == "Press the other button."
    assert Refused("state", "What").hint == CODES["state"].hint


@given(st.dictionaries(st.sampled_from(["code", "what", "why", "hint", "more"]), st.text(max_size=20)))
def test_any_form_becomes_an_error(form: dict[str, str]) -> None:
    assert isinstance(from_wire(form), Trouble)


def test_an_unknown_code_is_a_bug_of_ours_and_keeps_its_words() -> None:
    error = Refused("nonsense", "What", "why")
    assert error.code == "bug"
    assert "nonsense" in error.why
    assert "why" in error.why


def test_what_is_not_ours_is_a_bug_and_a_full_disk_is_none() -> None:
    assert of(ValueError("x")).code == "bug"
    assert "ValueError: x" in of(ValueError("x")).why
    assert of(OSError(errno.ENOSPC, "full")).code == of(OSError(errno.EDQUOT, "over quota")).code == "disk_full"
    assert of(OSError(errno.EACCES, "no")).code == "bug"
    own = Failed("guest", "What")
    assert of(own) is own


def test_the_text_has_what_and_why() -> None:
    assert str(Refused("state", "What", "why")) == "What: why"
    assert str(Refused("state", "What")) == "What"


def test_an_error_without_end_is_cut_on_the_wire() -> None:
    fault = Fault(**Failed("program", "What", "x" * 100_000).wire())
    assert (len(fault.why), fault.why[-1]) == (4000, "…")
    assert Fault.model_validate_json(fault.model_dump_json()) == fault


def test_exceptions_of_others_are_said_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_LEARNED", [])
    assert of(EOFError("gone")).code == "bug"
    errors.learn((EOFError,), lambda e: Unavailable("busy", "It does not take it now", str(e)))
    assert (of(EOFError("gone")).code, of(EOFError("gone")).why) == ("busy", "gone")
