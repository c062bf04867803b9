"""Paths of groups: spelt in one way, compared by whole segments."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luhyaapi.errors import Refused
from luhyadb import paths

segment = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
path = st.lists(segment, min_size=1, max_size=8).map(".".join)


@given(path, path)
def test_a_path_covers_itself_and_what_follows_by_a_dot(above: str, rest: str) -> None:
    assert paths.covers(above, above)
    assert paths.covers(above, f"{above}.{rest}")
    assert not paths.covers(f"{above}.{rest}", above)
    assert not paths.covers(above, f"{above}{rest}")
    assert paths.covers(paths.EVERYBODY, above)
    assert paths.moved(f"{above}.{rest}", above, "else.where") == f"else.where.{rest}"


@given(st.text(max_size=40))
def test_what_is_taken_is_taken_again_as_it_is(text: str) -> None:
    try:
        once = paths.normal(text)
    except Refused:
        return
    assert paths.normal(once) == once == once.casefold()
    assert paths.normal(unicodedata.normalize("NFD", text)) == once, "however it was typed"


@pytest.mark.parametrize(("text", "kept"), [
    ("edu.School.Class", "edu.school.class"), (" edu.a ", "edu.a"), ("edu.\uff43lass", "edu.class"), ("edu.STRA\u00dfE", "edu.strasse"),
    ("\u5927\u5b66.\u4e00\u73ed", "\u5927\u5b66.\u4e00\u73ed"), ("edu.e\u0301cole", "edu.\u00e9cole"), (".".join(["a"] * 64), ".".join(["a"] * 64)),
    ("edu.class-7_b", "edu.class-7_b"),
])
def test_one_thing_has_one_spelling(text: str, kept: str) -> None:
    assert paths.normal(text) == kept


@pytest.mark.parametrize("text", [
    "", ".", "edu.", ".edu", "edu..a", "edu/a", "edu.a b", "edu.*", "edu.%", "edu.-a", "edu.a\0", "edu.a\u200b", "edu.\u202ea", "edu.cl\u0430ss",
    "x" * 10_000, ".".join(["a"] * 65), "a" * 64, "edu.\U0001f600", "edu.a'; drop table", "../edu", "edu.\u2024a",
])
def test_what_only_looks_like_a_path_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="path of a group"):
        paths.normal(text)
