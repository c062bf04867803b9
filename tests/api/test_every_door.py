"""Every door of the API by everybody: what one has, what another of the class has, and what another school has."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import transaction
from drf_spectacular.generators import SchemaGenerator

from clc.services import access_roles, builds
from tests.support.doors import THINGS, Door, asked, doors
from tests.support.school import MARK, behind_doors

ASKERS = ("nobody", "pupil", "maker", "teacher", "root")
YES, FORBIDDEN, HIDDEN, STRANGER, WRONG = "yes", 403, 404, 401, 422


def expected(rule: str, asker: str, relation: str) -> str | int:  # noqa: C901, PLR0911, PLR0912 - the whole rule once more, in its plainest words
    """What is answered, told from what docs/permissions.md says, and from nothing of the code."""
    if rule == "everybody":
        return YES
    if asker == "nobody":
        return STRANGER
    kind, _, verb = rule.partition("-")
    manages = asker in ("teacher", "root")
    if rule in ("account-write", "account-delete") and manages and relation == "own":
        return FORBIDDEN
    if rule == "mine":
        return YES if relation == "own" else HIDDEN
    if asker == "root" or rule == "signed-in":
        return YES
    if rule == "cloud" or (kind in ("account", "people", "limit", "give", "lines", "numbered", "host", "hosts", "robot") and not manages):
        return FORBIDDEN
    if kind in ("instance", "asked"):
        return YES if (relation == "own" and rule != "asked") or (relation != "far" and manages) else HIDDEN
    if rule in ("host", "hosts"):
        return HIDDEN if rule == "host" else YES
    if rule == "lines":
        return YES if relation != "far" else WRONG
    if rule == "own" or relation == "far":
        return YES if relation == "own" else HIDDEN
    if kind == "image":
        held = {"pupil": ("read", "execute"), "maker": ("read", "execute", "write"), "teacher": ("read", "execute", "write", "delete")}[asker]
        return YES if relation == "own" or verb in held else FORBIDDEN
    if rule in ("make-image", "office", "group-write", "numbered"):
        return YES if manages else FORBIDDEN
    if rule == "limit":
        return YES if relation == "near" else FORBIDDEN
    if rule in ("share", "take"):
        return YES if manages or (relation, rule) == ("own", "share") else FORBIDDEN if relation == "own" else HIDDEN
    return {"group-move": FORBIDDEN}.get(rule, YES)


def told(answer: Any) -> str:
    """All that an answer says, whatever its form."""
    if answer.status_code == 204:
        return ""
    return b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()


def without(text: str, words: dict[str, str]) -> str:
    """A refusal without its own number, and without what was asked for."""
    text = json.dumps({**json.loads(text), "request": ""})
    for word in sorted(words.values(), key=len, reverse=True):
        text = text.replace(word, "*") if len(word) > 4 else text
    return text


def made_up(words: dict[str, str]) -> dict[str, str]:
    """Names of the same form that nobody has."""
    return words | {key: f"{value[:4]}{'e' * 8}" if re.fullmatch(r"[a-z]{3}-[0-9a-f]{8}", value) else f"{value}x" if len(value) > 4 else value
                    for key, value in words.items() if key in THINGS}


@pytest.fixture
def school(world, admin, tmp_path, monkeypatch):
    with behind_doors(world, admin, tmp_path, monkeypatch) as one:
        yield one


@pytest.mark.parametrize("asker", ASKERS)
def test_every_door_is_open_to_whom_it_should_be(school, api, asker):
    """By the plain words of :func:`expected`; and no answer says a word of the other school that was not asked for by its name."""
    client = api(None if asker == "nobody" else school.people[asker])
    access_roles.create(school.root, "watchers", {"image": ["read"]})
    common = school.cloud() | {"role": "watchers", "cluster": school.cluster.pk, "build": builds.begin(school.root, "being-built").pk}
    wrong = []
    for door in doors():
        for relation, whose in {"own": asker, "near": "mate", "far": "far"}.items() if door.is_about_things else [("own", "mate")]:
            if whose not in school.things:
                continue
            words = common | school.things[whose].words
            status, said = answered(client, door, words)
            want = expected(door.rule, asker, relation)
            if status not in ({200, 201, 202, 204, *door.also} if want == YES else {want}):
                wrong.append(f"{door.name} {relation}: {status} for {want}: {said[:200]}")
            elif asker != "root" and MARK in (without(said, words) if status >= 400 else said):
                wrong.append(f"{door.name} {relation}: tells of the other school: {said[:200]}")
            elif relation == "far" and want in (HIDDEN, FORBIDDEN, WRONG):
                nothing = made_up(words)
                other = answered(client, door, nothing)[1]
                if without(said, words) != without(other, nothing):
                    wrong.append(f"{door.name}: one learns that it is there: {said}, {other}")
    assert not wrong, "\n".join(wrong)


def answered(client: Any, door: Door, words: dict[str, str]) -> tuple[int, str]:
    """What a door says; what it did is undone."""
    with transaction.atomic():
        answer = asked(client, door, words)
        said = told(answer)
        transaction.set_rollback(True)
    return answer.status_code, said


def test_no_door_is_forgotten():
    """Each operation that is described has its line, and each line is described."""
    described = {f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path.removeprefix('/api/v1/'))}"
                 for path, operations in SchemaGenerator().get_schema(request=None, public=True)["paths"].items() for method in operations}
    assert {re.sub(r"{[^}]*}", "{}", door.name) for door in doors()} == described
