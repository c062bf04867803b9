"""Whatever the description of the API allows is sent to it, by four kinds of people: nothing breaks it, and nobody learns of another school."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from django.db import transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core import NOT_SET
from schemathesis.transport.serialization import Binary

from tests.support.many import many
from tests.support.school import MARK, behind_doors

ASKERS = ("pupil", "maker", "teacher", "root")
_LITTLE = settings(max_examples=many(4), database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def described():
    """Each operation by its name."""
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True))))
    found = {operation.ok().label: operation.ok() for operation in schema.get_all_operations()}
    assert len(found) > 150
    return found


@pytest.fixture
def school(world, admin, tmp_path, monkeypatch):
    with behind_doors(world, admin, tmp_path, monkeypatch) as one:
        yield one


def call(client: Any, case: Any) -> tuple[int, str]:
    """What the API says to it; what it did is undone."""
    with transaction.atomic():
        answer = client.generic(
            case.method, case.formatted_path, _bytes(case.body), content_type=case.media_type or "application/json", QUERY_STRING=_query(case.query),
        )
        said = b"".join(answer.streaming_content) if answer.streaming else answer.content
        transaction.set_rollback(True)
    return answer.status_code, said.decode(errors="replace")


def _bytes(body: Any) -> bytes:
    if body is NOT_SET:
        return b""
    return body if isinstance(body, bytes) else body.data if isinstance(body, Binary) else json.dumps(body).encode()


def _query(query: dict[str, Any] | None) -> str:
    return urlencode({k: str(v) for k, v in (query or {}).items()}, doseq=True)


class Told:
    """What was answered, and what of it should not have been."""

    def __init__(self, client: Any, *, is_all: bool) -> None:
        self._client, self._is_all = client, is_all
        self.asked, self.wrong = 0, list[str]()

    def hear(self, label: str, case: Any, known: dict[str, str], is_known: bool) -> None:
        """Send one case; with known ids where it has a place for one."""
        self.asked += 1
        if is_known and isinstance(case.path_parameters, dict):
            case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
        if is_known and isinstance(case.body, dict):
            case.body = {name: known.get(name, value) for name, value in case.body.items()}
        status, said = call(self._client, case)
        sent = f"{case.formatted_path} {case.query} {case.body}"
        if status >= 500 and json.loads(said)["code"] == "bug":
            self.wrong.append(f"{label}: {status} for {sent[:300]}")
        if not self._is_all and MARK in said and MARK not in sent:
            self.wrong.append(f"{label}: tells of the other school for {sent[:300]}: {said[:300]}")


def _each(label: str, operation: Any, known: Any, told: Told) -> None:
    """Some cases of one operation, the same each time."""

    @seed(label)
    @_LITTLE
    @given(operation.as_strategy(), known, st.booleans())
    def one(case: Any, known: dict[str, str], is_known: bool) -> None:
        told.hear(label, case, known, is_known)

    one()


@pytest.mark.parametrize("asker", ASKERS)
def test_nothing_breaks_it_and_nobody_learns_of_others(school, api, described, asker, record_property):
    """Addresses and bodies are told by the description, with ids of things that are there among them: one's own, and others'."""
    client = api(school.people[asker])
    there = {name: [school.things[whose].words[name] for whose in (asker, "mate", "far")] for name in school.things["far"].words}
    there |= {"group": there["group_path"], **{name: [value] for name, value in school.cloud().items()}}
    told = Told(client, is_all=asker == "root")
    known = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in there.items()})
    for label, operation in described.items():
        _each(label, operation, known, told)
    record_property("asked", told.asked)
    assert not told.wrong, "\n".join(told.wrong)
