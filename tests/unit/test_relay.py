"""Reports at a boss: verified, applied once and only when newer, passed up unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock
from luhyaapi.agent import Agent
from luhyaapi.conf import Settings
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import HostFacts, InstanceFacts, JoinAsked, Outcome
from luhyaapi.contracts.vocabulary import InstanceState, Role
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.role import RoleShape
from luhyaapi.status import relay
from luhyaapi.status.relay import Origin
from luhyaapi.wire import identity
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.signing import refusals, seal

pytestmark = pytest.mark.usefixtures("time")

NODE, GRANDCHILD, ME, TOP = "nc-0000000a", "sc-0000000d", "cc-0000000b", "clc-0000000c"
KEYS = {h: Ed25519PrivateKey.generate() for h in (NODE, GRANDCHILD, ME, TOP)}
ROOT = Ed25519PrivateKey.generate()
AUTHORITY = identity.make_authority(ROOT)


class Recorder:
    """The link up; ``away`` is a broker that does not answer."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, bool]] = []
        self.away = False

    def report(self, message: bytes, *, durable: bool) -> None:
        if self.away:
            raise Unavailable("broker_down", "The broker does not answer")
        self.got.append((message, durable))

    def is_connected(self) -> bool:
        return not self.away


class Middle(Agent):
    """A boss in the middle that knows its children."""

    def origins(self, hosts: Collection[str]) -> dict[str, Origin]:
        return {h: Origin(KEYS[h].public_key(), NODE if h == GRANDCHILD else ME) for h in hosts if h in (NODE, GRANDCHILD)}

    def below(self, boss: str, hosts: Collection[str]) -> set[str]:
        return {h for h in hosts if (h, boss) == (GRANDCHILD, NODE)}


@pytest.fixture
def reduced() -> list[Report]:
    return []


@pytest.fixture
def boss(tmp_path: Path, reduced: list[Report]) -> Middle:
    def reduce(_services: Any, _envelope: Envelope, report: Report) -> None:
        reduced.append(report)

    def certificate(host: str) -> str:
        return identity.certify(ROOT, AUTHORITY, identity.request(KEYS[host], "x"), host)

    shape = RoleShape(Role.CC, Role.CLC, reducers={r.kind: reduce for r in (InstanceFacts, HostFacts, Outcome)})
    own = Membership(ME, certificate(ME), AUTHORITY, TOP, certificate(TOP), "memory:")
    return Middle(shape, Settings(host={"role": "cc", "state": tmp_path}), own, KEYS[ME], up=Recorder(), inline=True)  # type: ignore[arg-type]


def _facts(state: InstanceState = InstanceState.RUNNING) -> InstanceFacts:
    return InstanceFacts(instance="ins-00000001", state=state, node=NODE)


def _message(report: Report, seq: int, epoch: int = 1, sender: str = NODE, key: str = "", **over: Any) -> bytes:
    now = clock.now()
    envelope = Envelope(**{
        "id": f"{sender}:{epoch}:{seq}", "kind": report.kind, "sender": sender, "to": ME, "subject": report.subject, "issued_at": now,
        "expires_at": 4e9, "deadline": 4e9, "epoch": epoch, "seq": seq, "body": report.model_dump_json(), **over,
    })
    return seal(envelope, KEYS[key or sender])


def _up(boss: Middle) -> list[bytes]:
    boss.publish()
    return [m for m, _ in boss.up.got]  # type: ignore[union-attr]


def test_a_report_is_applied_and_goes_up_as_the_same_bytes(boss: Middle, reduced: list[Report]) -> None:
    message = _message(_facts(), 1)
    boss.relay.take(NODE, message)
    assert reduced == [_facts()]
    assert _up(boss) == [message]
    assert boss.relay.heard[NODE] == clock.now()


def test_newer_wins_and_older_is_passed_over(boss: Middle, reduced: list[Report]) -> None:
    for seq, epoch in ((5, 1), (4, 1), (5, 1), (6, 1), (1, 2), (99, 1)):
        boss.relay.take(NODE, _message(_facts(), seq, epoch))
    assert len(reduced) == 3, "5, 6, then the next life"


def test_subjects_and_origins_are_numbered_apart(boss: Middle, reduced: list[Report]) -> None:
    boss.relay.take(NODE, _message(_facts(), 9))
    boss.relay.take(NODE, _message(InstanceFacts(instance="ins-00000002", state=InstanceState.RUNNING), 3))
    boss.relay.take(GRANDCHILD, _message(_facts(), 1, sender=GRANDCHILD))
    assert len(reduced) == 3


def test_a_double_is_applied_once_and_passed_up_again(boss: Middle, reduced: list[Report]) -> None:
    """The boss above judges for itself: it may have missed the first."""
    message = _message(_facts(), 1)
    boss.relay.take(NODE, message)
    boss.relay.take(NODE, message)
    assert len(reduced) == 1
    assert _up(boss) == [message, message]


def test_an_origin_must_be_its_sender_or_below_it(boss: Middle, reduced: list[Report]) -> None:
    boss.relay.take(NODE, _message(_facts(), 1, sender=GRANDCHILD))
    assert len(reduced) == 1
    before = refusals().get("misaddressed", 0)
    boss.relay.take(GRANDCHILD, _message(_facts(), 2))
    assert refusals()["misaddressed"] == before + 1
    assert len(reduced) == 1
    assert len(_up(boss)) == 1
    assert GRANDCHILD in boss.relay.heard, "the origin of the good one"


@pytest.mark.parametrize(("message", "code"), [
    (b"nonsense", "invalid"),
    (_message(HostFacts(host=NODE, at=1), 1, key=GRANDCHILD), "forged"),
    (_message(HostFacts(host=NODE, at=1), 1, sender=TOP), "forged"),
    (_message(HostFacts(host=NODE, at=1), 1, body="nonsense"), "invalid"),
    (_message(HostFacts(host=NODE, at=1), 1, body='{"host":"../etc","at":1}'), "invalid"),
], ids=["nonsense", "another key", "a stranger", "no body", "a wrong body"])
def test_what_cannot_be_believed_or_read_is_counted_and_gone(boss: Middle, reduced: list[Report], message: bytes, code: str) -> None:
    before = refusals().get(code, 0)
    boss.relay.take(NODE, message)
    assert refusals()[code] == before + 1
    assert (reduced, _up(boss)) == ([], [])


def test_an_unknown_kind_is_passed_over(boss: Middle, reduced: list[Report]) -> None:
    boss.relay.take(NODE, _message(_facts(), 1, kind="volume/facts"))
    assert (reduced, _up(boss)) == ([], [])


def test_an_unknown_field_is_read_over(boss: Middle, reduced: list[Report]) -> None:
    body = _facts().model_dump_json()[:-1] + ',"surprise":1}'
    boss.relay.take(NODE, _message(_facts(), 1, body=body))
    assert reduced == [_facts()]


def test_answers_to_a_boss_end_at_that_boss(boss: Middle, reduced: list[Report]) -> None:
    boss.relay.take(NODE, _message(Outcome(command="tsk-00000001#0.0", task="tsk-00000001"), 1))
    join = JoinAsked(request="r", role=Role.NC, name="n", csr="c", proof="p")
    boss.relay.take(NODE, _message(join, 2))
    assert len(reduced) == 1
    assert _up(boss) == []


def test_what_may_be_lost_is_not_kept(boss: Middle) -> None:
    boss.up.away = True  # type: ignore[union-attr]
    boss.relay.take(NODE, _message(HostFacts(host=NODE, at=1), 1))
    boss.relay.take(NODE, _message(_facts(), 2))
    boss.up.away = False  # type: ignore[union-attr]
    assert _up(boss) == [_message(_facts(), 2)]


def test_a_reducer_that_fails_leaves_the_report_with_the_broker(boss: Middle) -> None:
    def fail(*_args: Any) -> None:
        raise OSError("the database is away")

    boss.shape.reducers[InstanceFacts.kind] = fail
    with pytest.raises(OSError, match="away"):
        boss.relay.take(NODE, _message(_facts(), 1))
    assert _up(boss) == []


def test_old_subjects_are_forgotten(boss: Middle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A boss that runs for a year does not grow with every task."""
    monkeypatch.setattr(relay, "SUBJECTS_KEPT", 3)
    for n in range(9):
        boss.relay.take(NODE, _message(InstanceFacts(instance=f"ins-0000000{n}", state=InstanceState.RUNNING), n))
    assert len(boss.relay._latest) == 3


def test_a_report_past_its_end_is_refused_and_counted(boss: Middle, reduced: list[Report]) -> None:
    before = refusals().get("expired", 0)
    boss.relay.take(NODE, _message(_facts(), 1, expires_at=1.0))
    assert refusals()["expired"] == before + 1
    assert (reduced, _up(boss)) == ([], [])


@pytest.mark.parametrize("code", ["forbidden", "not_found"])
def test_what_is_not_the_senders_to_say_is_neither_applied_nor_passed_up(boss: Middle, reduced: list[Report], code: str) -> None:
    def judge(_envelope: Envelope, _report: Report) -> None:
        raise Refused(code, "Not yours to say")

    boss.shape = dataclasses.replace(boss.shape, judge=judge)
    before = refusals().get(code, 0)
    boss.relay.take(NODE, _message(_facts(), 1))
    assert (reduced, _up(boss)) == ([], [])
    assert refusals().get(code, 0) - before == (code == "forbidden")


def test_a_report_numbered_under_another_subject_is_refused(boss: Middle, reduced: list[Report]) -> None:
    boss.relay.take(NODE, _message(_facts(), 1, subject="ins-00000002"))
    assert (reduced, _up(boss)) == ([], [])


def test_what_a_reducer_refuses_does_not_come_again(boss: Middle) -> None:
    def reduce(_services: Any, _envelope: Envelope, _report: Report) -> None:
        raise Refused("state", "Not now and not later")

    boss.shape = dataclasses.replace(boss.shape, reducers={InstanceFacts.kind: reduce})
    boss.relay.take(NODE, _message(_facts(), 1))
    assert _up(boss) == []
