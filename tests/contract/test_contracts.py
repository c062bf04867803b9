"""Everything that can be said: spelled by rule, sampled, fingerprinted, and read strictly down, leniently up."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from deploy import generate
from luhyaapi.contracts import base, specs
from luhyaapi.contracts.base import Command, Envelope, Report
from luhyaapi.contracts.commands import COMMANDS
from luhyaapi.contracts.reports import REPORTS

ROOT = Path(__file__).resolve().parent.parent.parent
FINGERPRINTS = Path(__file__).with_name("fingerprints.json")
KINDS = generate.kinds()
FRESH = {**generate.samples(), **generate.documents()}
each = pytest.mark.parametrize("kind", sorted(KINDS))


def _sample(kind: str) -> dict[str, Any]:
    return dict(json.loads((ROOT / generate.sample_file(kind)).read_text("utf-8")))


@pytest.mark.parametrize("path", sorted(FRESH))
def test_what_is_generated_is_fresh(path: str) -> None:
    file = ROOT / path
    stored = file.read_text("utf-8") if file.exists() else ""
    assert stored == FRESH[path], f"{path} is stale: run `python -m deploy.generate`"


def test_no_sample_outlives_its_message() -> None:
    there = {f"{generate.SAMPLES}/{f.name}" for f in (ROOT / generate.SAMPLES).iterdir()}
    assert there == set(generate.samples())


@each
def test_a_sample_makes_the_round_trip(kind: str) -> None:
    stored = _sample(kind)
    message = KINDS[kind].model_validate_json(json.dumps(stored["body"]))
    assert stored["kind"] == message.kind
    assert stored["v"] == message.v
    assert json.loads(message.model_dump_json()) == stored["body"]
    assert type(message).model_validate_json(message.model_dump_json()) == message


@each
def test_a_kind_is_spelled_from_its_class(kind: str) -> None:
    model = KINDS[kind]
    words = re.findall("[A-Z][a-z0-9]*", model.__name__)
    assert kind == (words[0] + ("/" + "-".join(words[1:]) if words[1:] else "")).lower()
    assert re.fullmatch(r"[a-z]+(/[a-z-]+)?", kind)
    if issubclass(model, Command):
        assert "/" in kind, "an order is a noun and a verb"


@each
def test_a_message_says_what_it_means(kind: str) -> None:
    model = KINDS[kind]
    assert model.__doc__
    assert model.__doc__ != model.__base__.__doc__
    assert model.since
    assert model.v >= 1
    if issubclass(model, Command):
        assert model.timeout_s > 0
        assert model.to


@pytest.mark.parametrize("kind", sorted(COMMANDS))
def test_an_order_with_an_unknown_field_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        COMMANDS[kind].model_validate({**_sample(kind)["body"], "surprise": 1})


@pytest.mark.parametrize("kind", sorted(REPORTS))
def test_a_report_with_an_unknown_field_is_read(kind: str) -> None:
    body = _sample(kind)["body"]
    assert REPORTS[kind].model_validate({**body, "surprise": 1}) == REPORTS[kind].model_validate(body)


@each
def test_a_message_cannot_be_changed(kind: str) -> None:
    message = KINDS[kind].model_validate(_sample(kind)["body"])
    for name in type(message).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(message, name, None)


@each
def test_a_message_fits_its_envelope(kind: str) -> None:
    message = KINDS[kind].model_validate(_sample(kind)["body"])
    limit = {n: next((m.max_length for m in f.metadata if hasattr(m, "max_length")), 0) for n, f in Envelope.model_fields.items()}
    assert len(message.subject) <= limit["subject"]
    assert len(kind) <= limit["kind"]


def _open_ended(schema: Any, path: str = "") -> list[str]:
    """Places of a JSON schema where anything may stand."""
    found = []
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is True:
            found.append(path)
        if path.rsplit("/", 1)[-1] in ("items", "additionalProperties") and not set(schema) - {"title", "default", "description"}:
            found.append(path)
        for name, part in schema.items():
            if name == "properties":
                found += [f"{path}/{n}" for n, s in part.items() if not set(s) - {"title", "default", "description"}]
            found += _open_ended(part, f"{path}/{name}")
    elif isinstance(schema, list):
        for n, part in enumerate(schema):
            found += _open_ended(part, f"{path}/{n}")
    return found


@each
def test_nothing_in_a_message_is_untyped(kind: str) -> None:
    assert _open_ended(KINDS[kind].model_json_schema()) == []


def test_the_search_for_untyped_places_finds_them() -> None:
    class Loose(BaseModel):
        one: dict[str, Any]
        two: Any
        three: list[Any]

    assert len(_open_ended(Loose.model_json_schema())) == 3


@each
def test_numbers_that_are_none_are_refused(kind: str) -> None:
    body = _sample(kind)["body"]
    for name, field in KINDS[kind].model_fields.items():
        if field.annotation is float:
            with pytest.raises(ValidationError):
                KINDS[kind].model_validate({**body, name: float("nan")})


# ---- fingerprints


def _fingerprint(model: type[BaseModel]) -> str:
    """Of the JSON schema, titles and descriptions left out: words may change freely."""

    def bare(part: Any) -> Any:
        if isinstance(part, dict):
            return {k: bare(v) for k, v in part.items() if k not in ("title", "description") or isinstance(v, dict)}
        return [bare(p) for p in part] if isinstance(part, list) else part

    return hashlib.sha256(json.dumps(bare(model.model_json_schema()), sort_keys=True).encode()).hexdigest()[:16]


def verdict(kind: str, known: dict[str, Any], v: int, fingerprint: str) -> str:
    """What is wrong with a message compared to what is kept; empty when nothing is."""
    kept = known.get(kind)
    if kept is None:
        return f"{kind} is new: add {json.dumps({kind: {'v': v, 'schema': fingerprint}})} to {FINGERPRINTS.name}."
    if kept["schema"] == fingerprint and kept["v"] == v:
        return ""
    if kept["schema"] != fingerprint and v <= kept["v"]:
        return f"The schema of {kind} changed and its version did not: raise `v` above {kept['v']}, or make a new message instead."
    return f"{kind} has version {v} now: keep {json.dumps({'v': v, 'schema': fingerprint})} in {FINGERPRINTS.name}."


def _known() -> dict[str, Any]:
    return dict(json.loads(FINGERPRINTS.read_text("utf-8")))


@each
def test_a_changed_message_has_a_raised_version(kind: str) -> None:
    wrong = verdict(kind, _known(), KINDS[kind].v, _fingerprint(KINDS[kind]))
    assert not wrong, wrong


def test_the_envelope_is_fingerprinted_too() -> None:
    wrong = verdict("envelope", _known(), 1, _fingerprint(Envelope))
    assert not wrong, wrong
    assert set(_known()) == {*KINDS, "envelope"}, "a message went away: keep reading it for one release, then remove its fingerprint"


def test_the_verdict_speaks_in_sentences() -> None:
    known = {"a/b": {"v": 1, "schema": "x"}}
    assert verdict("a/b", known, 1, "x") == ""
    assert "raise `v` above 1" in verdict("a/b", known, 1, "y")
    assert "keep" in verdict("a/b", known, 2, "y")
    assert "is new" in verdict("c/d", known, 1, "y")


# ---- the envelope

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_count = st.integers(0, 2**53)
_stamp = st.floats(allow_nan=False, allow_infinity=False)
_envelopes = st.builds(
    Envelope, id=_text, task=st.text("tsk-0123456789abcdef", max_size=16), kind=_text, v=_count, sender=_text, to=_text, subject=_text,
    gen=_count, fence=_count, issued_at=_stamp, expires_at=_stamp, deadline=_stamp, epoch=_count, seq=_count,
    body=st.text(st.characters(exclude_categories=["Cs"])),
)


@settings(max_examples=200, deadline=None, database=None)
@given(_envelopes)
def test_an_envelope_makes_the_round_trip(envelope: Envelope) -> None:
    assert Envelope.model_validate_json(envelope.model_dump_json()) == envelope


@pytest.mark.parametrize("wrong", [
    {"issued_at": float("nan")}, {"expires_at": float("inf")}, {"seq": -1}, {"epoch": 2**63}, {"id": "x" * 81}, {"extra": 1}, {"body": None},
])
def test_an_envelope_refuses_nonsense(wrong: dict[str, Any]) -> None:
    good = json.loads((ROOT / generate.SAMPLES / "envelope.json").read_text())
    with pytest.raises(ValidationError):
        Envelope.model_validate({**good, **wrong})


def test_decode_reads_what_an_envelope_carries() -> None:
    sample = _sample("domain/stop")
    envelope = Envelope(
        id="x", kind="domain/stop", sender="cc-00000001", to="nc-00000001", issued_at=0, expires_at=1, deadline=1,
        body=json.dumps(sample["body"]),
    )
    assert base.decode(COMMANDS, envelope) == COMMANDS["domain/stop"].model_validate(sample["body"])
    with pytest.raises(KeyError):
        base.decode(REPORTS, envelope)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-a", "a-", "x" * 64, "a\n", "ä", "a b", "a\x00"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        specs.Nic(mac="52:54:00:00:00:01", ip="10.0.0.1", network=name)


def test_every_command_and_report_is_listed() -> None:
    assert set(COMMANDS.values()) == set(Command.__subclasses__())
    assert set(REPORTS.values()) == set(Report.__subclasses__())
    assert not set(COMMANDS) & set(REPORTS)
