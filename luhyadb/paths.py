"""Paths of groups, such as ``edu.school.class``: how they are spelt, and what lies below what. Pure."""

from __future__ import annotations

import unicodedata

from luhyaapi.errors import Refused

LEVELS, LENGTH, SEGMENT = 64, 700, 63
"""At most so many segments, signs in all, and signs of one segment."""
EVERYBODY = ""
"""The path of the group that all others lie below."""
_MARKS = "-_"
_TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK", "BOPOMOFO": "CJK", "FULLWIDTH": "LATIN"}
"""Scripts that one word is written in together, by the first word of their signs' names in Unicode."""


def normal(text: str) -> str:
    """A path as it is kept and compared: compatible forms made one (NFKC), case folded, nothing around its segments.

    Raises Refused(invalid) for an empty segment, a sign that is no letter, digit, dash or underscore, letters of several scripts in one segment
    (a Cyrillic a looks like a Latin one), and for what is too long or too deep.
    """
    if len(text) > 4 * LENGTH:
        raise _refused(f"it has {len(text)} signs; {LENGTH} are possible")
    path = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())
    if len(path) > LENGTH:
        raise _refused(f"it has {len(path)} signs; {LENGTH} are possible")
    segments = path.split(".")
    if len(segments) > LEVELS:
        raise _refused(f"it has {len(segments)} levels; {LEVELS} are possible")
    for each in segments:
        _check(each)
    return path


def segments(path: str) -> list[str]:
    """Of the group of everybody, none."""
    return path.split(".") if path else []


def covers(above: str, path: str) -> bool:
    """Whether the second is the first or lies below it: by whole segments, so ``edu.a`` does not cover ``edu.abc``."""
    return segments(path)[: len(segments(above))] == segments(above)


def parent(path: str) -> str:
    """The path above; that of everybody for one segment."""
    return path.rpartition(".")[0]


def moved(path: str, old: str, new: str) -> str:
    """What becomes of a path when ``old``, which covers it, is called ``new``."""
    return new + path[len(old):]


def _check(segment: str) -> None:
    if not segment:
        raise _refused("a segment is empty: there is a dot at an end, or two beside each other")
    if len(segment) > SEGMENT:
        raise _refused(f"a segment has {len(segment)} signs; {SEGMENT} are possible")
    if wrong := next((sign for sign in segment if not (sign.isalnum() or sign in _MARKS or unicodedata.category(sign) in ("Mn", "Mc"))), ""):
        raise _refused(f"U+{ord(wrong):04X} in a segment: letters, digits, dash and underscore are possible")
    if not segment[0].isalnum():
        raise _refused("a segment begins with a letter or a digit")
    if len(scripts := {_script(sign) for sign in segment if sign.isalpha()}) > 1:
        raise _refused(f"letters of several scripts in one segment: {', '.join(sorted(scripts)).lower()}")


def _script(sign: str) -> str:
    first = unicodedata.name(sign, "UNKNOWN").split()[0]
    return _TOGETHER.get(first, first)


def _refused(why: str) -> Refused:
    return Refused("invalid", "The path of a group is not possible", why, hint="Give a path like edu.school.class.", field="path")
