"""Reports that came together: each is judged for itself, all are kept in one go, and one that fails, fails alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import OperationalError

from luhyaapi import clock
from luhyaapi.conf import Settings
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import HostFacts, HostsFacts, InstanceFacts, Progress
from luhyaapi.contracts.vocabulary import InstanceState, Role
from luhyaapi.errors import Failed, Refused, of
from luhyaapi.process import Loop
from luhyaapi.role import RoleShape
from luhyaapi.status import relay
from luhyaapi.wire import identity
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.signing import refusals, seal
from luhyadb.boss import BossAgent
from luhyadb.models import Event, Heard

pytestmark = [pytest.mark.django_db(databases=["default", "cc"], transaction=True), pytest.mark.usefixtures("time")]
NODE, OTHER, CLUSTER, ME, TOP = "nc-0000000a", "nc-0000000b", "cc-0000000c", "cc-0000000d", "clc-0000000e"
KEY = Ed25519PrivateKey.generate()
ROOT = Ed25519PrivateKey.generate()
AUTHORITY = identity.make_authority(ROOT)
BELOW = {NODE: CLUSTER, OTHER: CLUSTER, CLUSTER: ME}


def _certificate(host: str) -> str:
    return identity.certify(ROOT, AUTHORITY, identity.request(KEY, "x"), host)


CERTIFICATES = {host: _certificate(host) for host in BELOW}


class Up:
    """The link up."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def report(self, message: bytes, *, durable: bool) -> None:
        self.got.append(message)

    def is_connected(self) -> bool:
        return True


class Middle(BossAgent):
    """A boss with a real memory; three hosts are below it."""

    looks = 0

    @staticmethod
    def known(hosts: Collection[str]) -> list[tuple[str, str, str]]:
        Middle.looks += 1
        return [(h, CERTIFICATES[h], BELOW[h]) for h in hosts if h in BELOW]

    @staticmethod
    def children_of(boss: str) -> list[str]:
        return [h for h, above in BELOW.items() if above == boss]


@pytest.fixture
def told() -> list[str]:
    """What reducers were given, in order; heartbeats as one entry each time they came together."""
    return []


@pytest.fixture
def boss(tmp_path: Path, told: list[str]) -> Middle:
    def reduce(_services: Any, _envelope: Envelope, report: InstanceFacts) -> None:
        Event.objects.create(at=1, noun="instance", subject=report.instance, what=report.state)
        told.append(report.instance)

    def gather(_services: Any, reports: Mapping[str, Report]) -> None:
        told.append(" ".join(f"{s}={getattr(r, 'load', getattr(r, 'percent', 0)):g}" for s, r in reports.items()))

    shape = RoleShape(
        Role.CLC, None, reducers={InstanceFacts.kind: reduce}, gatherers={HostFacts.kind: gather, Progress.kind: gather},
    )
    own = Membership(ME, _certificate(ME), AUTHORITY, TOP, _certificate(TOP), "memory:")
    Middle.looks = 0
    return Middle(shape, Settings(host={"role": "clc", "state": tmp_path}), own, KEY, up=Up(), inline=True)  # type: ignore[arg-type]


def _facts(number: int) -> InstanceFacts:
    return InstanceFacts(instance=f"ins-{number:08x}", state=InstanceState.RUNNING)


def _beat(host: str = NODE, load: float = 1) -> HostFacts:
    return HostFacts(host=host, at=clock.now(), load=load)


def _message(report: Report, seq: int, sender: str = NODE, **over: Any) -> tuple[str, bytes]:
    now = clock.now()
    envelope = Envelope(**{
        "id": f"{sender}:1:{seq}", "kind": report.kind, "sender": sender, "to": ME, "subject": report.subject, "issued_at": now,
        "expires_at": 4e9, "deadline": 4e9, "epoch": 1, "seq": seq, "body": report.model_dump_json(), **over,
    })
    return CLUSTER, seal(envelope, KEY)


def _rows() -> list[str]:
    return sorted(Event.objects.filter(noun="instance").values_list("subject", flat=True))


def _spoil(boss: Middle, wrong: str, error: Exception) -> None:
    """Its reducer fails at one instance, after it wrote something."""
    reduce = boss.shape.reducers[InstanceFacts.kind]

    def fail(services: Any, envelope: Envelope, report: InstanceFacts) -> None:
        reduce(services, envelope, report)
        if report.instance == wrong:
            raise error

    boss.shape.reducers[InstanceFacts.kind] = fail


def test_what_came_together_is_taken_with_one_look_for_certificates(boss: Middle) -> None:
    batch = [_message(_facts(n), n, sender=(NODE, OTHER)[n % 2]) for n in range(20)]
    assert boss.relay.take_many(batch) == [None] * 20
    assert len(_rows()) == 20
    assert Middle.looks == 1
    boss.publish()
    assert boss.up.got == [message for _, message in batch]


@pytest.mark.parametrize(("wrong", "code"), [
    ((CLUSTER, b"nonsense"), "invalid"),
    ((CLUSTER, _message(_facts(9), 9)[1].replace(b'"seq\\":9', b'"seq\\":8')), "forged"),
    (("nc-00000000", _message(_facts(9), 9)[1]), "misaddressed"),
    (_message(_facts(9), 9, expires_at=1.0), "expired"),
    (_message(_facts(9), 9, body="nonsense"), "invalid"),
    (_message(_facts(9), 9, subject="ins-00000001"), "invalid"),
], ids=["nonsense", "forged", "by a stranger", "too late", "no body", "another subject"])
def test_a_bad_envelope_sinks_no_other(boss: Middle, wrong: tuple[str, bytes], code: str) -> None:
    before = refusals().get(code, 0)
    assert boss.relay.take_many([_message(_facts(1), 1), wrong, _message(_facts(2), 2)]) == [None] * 3
    assert _rows() == ["ins-00000001", "ins-00000002"]
    assert refusals()[code] == before + 1
    assert boss.publish() == 2


def test_what_a_judge_refuses_sinks_no_other(boss: Middle) -> None:
    def judge(_envelope: Envelope, report: Report) -> None:
        if report.subject == "ins-00000001":
            raise Refused("forbidden", "Not yours to say")

    object.__setattr__(boss.shape, "judge", judge)
    assert boss.relay.take_many([_message(_facts(n), n) for n in range(3)]) == [None] * 3
    assert _rows() == ["ins-00000000", "ins-00000002"]
    assert boss.publish() == 2


def test_old_and_doubled_ones_count_once(boss: Middle, told: list[str]) -> None:
    batch = [_message(_facts(1), n) for n in (5, 4, 5, 6)] + [_message(_beat(load=n), 10 + n) for n in (2, 1, 2, 3)]
    assert boss.relay.take_many(batch) == [None] * 8
    assert told == ["ins-00000001"] * 2 + [f"facts:{NODE}=3"]
    boss.relay.take_many([_message(_facts(1), 6), _message(_beat(load=9), 12)])
    assert told == ["ins-00000001"] * 2 + [f"facts:{NODE}=3"]


@pytest.mark.parametrize("error", [ValueError("a reducer is wrong"), Failed("network", "It cannot be")])
def test_one_that_fails_fails_alone(boss: Middle, error: Exception) -> None:
    _spoil(boss, "ins-00000001", error)
    failed = boss.relay.take_many([_message(_facts(n), n) for n in range(3)])
    assert failed == [None, error, None]
    assert _rows() == ["ins-00000000", "ins-00000002"], "what it wrote is taken back"
    assert boss.publish() == 2
    assert boss.relay.take_many([_message(_facts(1), 1)]) == [error], "it was not remembered as taken"


def test_one_that_a_reducer_refuses_is_answered_for_and_sinks_no_other(boss: Middle) -> None:
    _spoil(boss, "ins-00000001", Refused("state", "Not now and not later"))
    assert boss.relay.take_many([_message(_facts(n), n) for n in range(3)]) == [None] * 3
    assert _rows() == ["ins-00000000", "ins-00000002"]
    assert boss.publish() == 2


def test_a_database_that_goes_away_in_the_middle_leaves_nothing_and_all_count_once_later(boss: Middle, told: list[str]) -> None:
    reduce = boss.shape.reducers[InstanceFacts.kind]
    _spoil(boss, "ins-00000001", OperationalError("server has gone away"))
    batch = [_message(_beat(), 7), *(_message(_facts(n), n) for n in range(3)), _message(Progress(command="c", task="t", phase="p", percent=4), 8)]
    with pytest.raises(OperationalError) as caught:
        boss.relay.take_many(batch)
    assert of(caught.value).family == "unavailable"
    assert (_rows(), Heard.objects.count(), boss.publish()) == ([], 0, 0)
    boss.shape.reducers[InstanceFacts.kind] = reduce
    told.clear()
    assert boss.relay.take_many(batch) == [None] * 5
    assert _rows() == ["ins-00000000", "ins-00000001", "ins-00000002"]
    assert told[3:] == [f"facts:{NODE}=1", "c=4"], "what is kept in memory was not taken for old either"
    assert boss.relay.take_many(batch) == [None] * 5
    assert len(_rows()) == 3


def test_what_was_kept_before_the_database_went_away_counts_once(boss: Middle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "DURABLE_AT_ONCE", 2)
    reduce = boss.shape.reducers[InstanceFacts.kind]
    _spoil(boss, "ins-00000003", OperationalError("server has gone away"))
    batch = [_message(_facts(n), n) for n in range(5)]
    with pytest.raises(OperationalError):
        boss.relay.take_many(batch)
    assert _rows() == ["ins-00000000", "ins-00000001"]
    boss.shape.reducers[InstanceFacts.kind] = reduce
    boss.relay.take_many(batch)
    assert len(_rows()) == 5
    boss.publish()
    assert boss.up.got == [message for _, message in batch], "nothing went up before all were kept"


def test_a_full_disk_above_the_database_holds_all_of_them(boss: Middle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_told: object) -> None:
        raise Failed("disk_full", "No space is left")

    with monkeypatch.context() as there:
        there.setattr(boss.journal, "put_reports", full)
        with pytest.raises(Failed, match="No space"):
            boss.relay.take_many([_message(_facts(n), n) for n in range(2)])
    assert boss.relay.take_many([_message(_facts(n), n) for n in range(2)]) == [None] * 2
    assert len(_rows()) == 2
    assert boss.publish() == 2


# ---- heartbeats


def test_a_cluster_answers_for_the_heartbeats_of_its_own_hosts_only(boss: Middle, told: list[str]) -> None:
    before = refusals().get("forbidden", 0)
    report = HostsFacts(hosts=(_beat(NODE), _beat("nc-000000ff"), _beat(OTHER, 2), _beat(ME)))
    boss.relay.take_many([_message(report, 1, sender=CLUSTER)])
    assert told == [f"facts:{NODE}=1 facts:{OTHER}=2"]
    assert refusals()["forbidden"] == before + 1
    assert set(boss.relay.heard) == {CLUSTER, NODE, OTHER}
    boss.relay.take_many([_message(HostsFacts(hosts=(_beat(NODE, 9),)), 1, sender=CLUSTER)])
    assert len(told) == 1, "an old one says nothing"


def test_heartbeats_go_up_as_one_report_with_the_newest_of_each(boss: Middle, monkeypatch: pytest.MonkeyPatch) -> None:
    boss.relay.take_many([_message(_beat(NODE, 1), 1), _message(_beat(NODE, 3), 3), _message(_beat(NODE, 2), 2), _message(_beat(OTHER), 1, OTHER)])
    told = _gathered(boss)
    assert [(f.host, f.load) for f in told] == [(NODE, 3), (OTHER, 1)]
    boss.relay.take_many([_message(_beat(NODE, 2), 2)])
    assert _gathered(boss) == told, "an old one is not passed up over a new one"


def test_the_first_heartbeat_after_a_pause_goes_up_at_once_and_the_next_ones_together_but_for_one_asked_for(boss: Middle) -> None:
    loop = boss._gathering = Loop("gather", boss.pass_up_gathered, 3600)
    boss.pass_up([(_envelope(), b"", _beat(NODE))])
    assert loop._wake.is_set()
    boss.pass_up_gathered()
    loop._wake.clear()
    for n in range(450):
        host = f"nc-{n:08x}"
        boss.pass_up([(_envelope(), b"", HostFacts(host=host, at=1))])
    assert not loop._wake.is_set()
    assert len(_gathered(boss)) == 1
    boss.awaits(NODE)
    boss.pass_up([(_envelope(), b"", _beat(OTHER))])
    assert not loop._wake.is_set()
    boss.pass_up([(_envelope(), b"", _beat(NODE))])
    assert loop._wake.is_set()
    loop._wake.clear()
    boss.pass_up([(_envelope(), b"", _beat(NODE))])
    assert not loop._wake.is_set(), "asked once, answered once"
    boss.pass_up_gathered()
    assert len(boss.up.got) == 4
    assert len(_gathered(boss)) == 451
    boss.pass_up_gathered()
    assert len(boss.up.got) == 4, "nothing new, nothing said"


def _envelope() -> Envelope:
    return Envelope(id="x", kind=HostFacts.kind, sender=NODE, to=ME, issued_at=1, expires_at=2, deadline=2, body="")


def _gathered(boss: Middle) -> list[HostFacts]:
    from luhyaapi.wire.signing import open_sealed

    found: list[HostFacts] = []
    for message in boss.up.got:
        envelope = open_sealed(message, lambda _sender: KEY.public_key())
        assert (envelope.kind, envelope.sender, envelope.subject) == (HostsFacts.kind, ME, "hosts")
        found += HostsFacts.model_validate_json(envelope.body).hosts
    return found
