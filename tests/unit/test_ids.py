"""Ids: typed, computed for orders, never mistaken for each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from luhyaapi import ids


@pytest.mark.parametrize(("prefix", "kind"), [("img", ids.ImgId), ("ins", ids.InsId), ("tsk", ids.TaskId), ("nc", ids.HostId)])
def test_a_fresh_id_fits_its_type(prefix: str, kind: object) -> None:
    fresh = ids.new(prefix)
    assert ids.is_id(fresh, prefix)
    assert TypeAdapter(kind).validate_python(fresh) == fresh


@pytest.mark.parametrize(
    "text",
    ["", "ins-", "ins-3fa21c0", "ins-3FA21C00", "ins-3fa21c00\n", "ins-3fa21c00/..", "img-3fa21c00", "../ins-3fa21c00", "ins-3fa21c0g"],
)
def test_what_is_no_instance_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ids.InsId).validate_python(text)


@pytest.mark.parametrize("text", ["ins-3fa21c00\n", "ins", "in-3fa21c00", "ins-3fa21c00-", "xins-3fa21c00"])
def test_is_id_takes_the_whole_text(text: str) -> None:
    assert not ids.is_id(text, "ins")


def test_ids_and_secrets_do_not_repeat() -> None:
    assert len({ids.new("ins") for _ in range(1000)}) > 990
    assert len({ids.secret() for _ in range(1000)}) == 1000
    assert len(ids.secret()) == 32


@given(st.from_regex(r"tsk-[0-9a-f]{8}", fullmatch=True), st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), st.integers(0, 999))
def test_an_order_id_is_computed_and_names_its_task(task: str, step: str, attempt: int) -> None:
    one = ids.command_id(task, step, attempt)
    assert one == ids.command_id(task, step, attempt)
    assert TypeAdapter(ids.CommandId).validate_python(one) == one
    assert ids.task_of(one) == task
    assert one != ids.command_id(task, step, attempt + 1)


@pytest.mark.parametrize("role", ids.HOST_ROLES)
def test_a_host_id_names_its_role(role: str) -> None:
    assert ids.role_of(ids.new(role)) == role
