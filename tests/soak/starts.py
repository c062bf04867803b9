"""Double starts at the real node code: twice the same order, older fences and generations, orders of two places, after a delete."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.roles import Links, nc
from luhyaapi import clock, log
from luhyaapi.clock import ManualClock
from luhyaapi.conf import Settings
from luhyaapi.contracts.base import Command, Envelope
from luhyaapi.contracts.commands import DomainDelete, DomainStart, DomainStop
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec
from luhyaapi.contracts.vocabulary import DomainState, Part
from luhyaapi.wire import identity
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.signing import seal
from tests.soak import tally
from tests.soak.tally import Budget, Tally
from tests.support import scratch

_CC = "cc-00000001"
_SHA = "ab" * 32
_DIES = 0.1
_FRESH_EVERY = 300
_CONTROL = 0xFFFFFFFF
"""The number of the instance of the control, which no case has."""


class Cluster:
    """The one who gives orders: its key, and the authority both sides trust."""

    def __init__(self) -> None:
        self._authority_key, self.key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.authority = identity.make_authority(self._authority_key)
        self.certificate = self.admit(self.key, _CC)

    def admit(self, key: Ed25519PrivateKey, host: str) -> str:
        """A certificate for a host."""
        return identity.certify(self._authority_key, self.authority, identity.request(key, host), host)


class Node:
    """A node without a wire, so that a message comes exactly as often and as late as wanted."""

    def __init__(self, folder: Path, number: int, cluster: Cluster) -> None:
        self.me, self.folder, self.cluster = f"nc-{number:08x}", folder / f"nc{number}", cluster
        self.folder.mkdir(parents=True)
        key = Ed25519PrivateKey.generate()
        self._key = key
        self._membership = Membership(self.me, cluster.admit(key, self.me), cluster.authority, _CC, cluster.certificate, "")
        self._began: dict[str, int] = {}
        self.start()
        source = folder / "kernel"
        source.write_bytes(b"k" * 64)
        self.house.agent.services.cache.adopt(source, _SHA)

    def start(self) -> None:
        """The process begins; what was on its disk is there."""
        settings = Settings(
            host={"role": "nc", "name": self.me, "state": self.folder}, hypervisor={"driver": "fake", "cpus": 64, "memory_mib": 65536},
            network={"node_driver": "fake"}, board={"port": 0},
        )
        self.house = nc(settings, self._membership, self._key, Links(inline=True))
        driver = self.house.agent.services.domains._hands.hypervisor
        become = driver._become

        def counted(instance: str, state: DomainState) -> None:
            if state is DomainState.RUNNING and driver.inspect(instance).state is not DomainState.RUNNING:
                self._began[instance] = self._began.get(instance, 0) + 1
            become(instance, state)

        driver._become = counted
        self.driver = driver

    def hear(self, *envelopes: Envelope) -> None:
        """Orders arrive, signed, and all that is due is done."""
        agent = self.house.agent
        for envelope in envelopes:
            agent.worker.accept(seal(envelope, self.cluster.key))
        while agent.worker.step():
            pass
        agent.journal.report_confirmed([n for n, _ in agent.journal.reports()])

    def error(self, envelope: Envelope) -> str:
        """The code an order ended with: empty when done, ``open`` while it has not ended, ``never`` when it was not let in."""
        row = self.house.agent.journal.row(envelope.id)
        if row is None:
            return "never"
        fault = json.loads(row.outcome)["error"] if row.state == "done" else {"code": "open"}
        return str(fault["code"]) if fault else ""

    def runs(self, instance: str) -> bool:
        """Whether the guest runs here."""
        return bool(self.driver.inspect(instance).state is DomainState.RUNNING)

    def began(self, instance: str) -> int:
        """How often it really began to run here."""
        return self._began.get(instance, 0)


class Case:
    """One instance and the orders about it."""

    def __init__(self, nodes: tuple[Node, Node], number: int, budget: Budget) -> None:
        self.nodes, self.instance, self._chance = nodes, f"ins-{number:08x}", budget.chance
        self.node = nodes[number % 2]
        self.other = nodes[1 - number % 2]
        self._orders = 0
        self.gen, self.fence = self._chance.randint(1, 9), self._chance.randint(1, 9)

    def order(self, command: type[Command] = DomainStart, *, gen: int | None = None, fence: int | None = None, to: str = "") -> Envelope:
        """A new order on the instance, of the current generation and fence."""
        self._orders += 1
        body: Any = command(instance=self.instance, spec=self._spec()) if command is DomainStart else command(instance=self.instance)
        task, now = f"tsk-{self.instance[4:]}", clock.now()
        return Envelope(
            id=f"{task}#step{self._orders}.0", task=task, kind=command.kind, sender=_CC, to=to or self.node.me, subject=self.instance,
            gen=self.gen if gen is None else gen, fence=self.fence if fence is None else fence,
            issued_at=now, expires_at=now + 600, deadline=now + 600, body=body.model_dump_json(),
        )

    def _spec(self) -> MachineSpec:
        blob = Blob(part=Part.KERNEL, sha256=_SHA, index=_SHA, size=64)
        return MachineSpec(instance=self.instance, name="lab", cpus=1, memory_mib=64, image=ImageRef(image="img-00000001", version=1, blobs=(blob,)))

    def hear(self, *envelopes: Envelope) -> None:
        """The node hears; now and then it was killed before."""
        if self._chance.random() < _DIES:
            self.node.start()
        self.node.hear(*envelopes)

    def check(self, *, began: int, runs: bool, elsewhere: bool = False) -> str:
        """In words what is wrong; empty when all is as it must be, and when it runs on the other node just as it must."""
        found = self.node.began(self.instance), self.node.runs(self.instance)
        if found != (began, runs):
            return f"{self.instance} began {found[0]} times and runs: {found[1]}; it should have been {began} and {runs}"
        found = self.other.began(self.instance), self.other.runs(self.instance)
        if found != (int(elsewhere), elsewhere):
            return f"{self.instance} began {found[0]} times on the other node and runs there: {found[1]}; it should have been {elsewhere}"
        return ""

    def refused(self, late: Envelope) -> str:
        """In words what is wrong when the node did not refuse an order as too old."""
        code = self.node.error(late)
        return "" if code == "state" else f"the late order ended {code!r}"


def same_twice(case: Case) -> str:
    """Delivered twice at once, or again after its end, or again in the node's next life."""
    start = case.order()
    case.hear(*[start] * case._chance.randint(1, 3))
    case.hear(start)
    return case.check(began=1, runs=True)


def said_again(case: Case) -> str:
    """A second order of the same generation under another name."""
    case.hear(case.order(), case.order())
    case.hear(case.order())
    return case.check(began=1, runs=True)


def older_fence(case: Case) -> str:
    """The placement moved on; an order from before comes late."""
    late = case.order(fence=case.fence - 1)
    case.hear(case.order(), case.order(DomainStop))
    case.hear(late)
    return case.check(began=1, runs=False) or case.refused(late)


def older_than_stop(case: Case) -> str:
    """Stopped since; a start from before that comes late."""
    first, late = case.order(), case.order()
    case.hear(first, case.order(DomainStop, gen=case.gen + 1))
    case.hear(late)
    return case.check(began=1, runs=False) or case.refused(late)


def after_delete(case: Case) -> str:
    """Deleted since; a start from before that comes late, or for the first time."""
    was_there = case._chance.random() < 0.5
    late = case.order()
    case.hear(*([case.order()] if was_there else []), case.order(DomainDelete, gen=case.gen + case._chance.randint(0, 1)))
    case.hear(late)
    return case.check(began=int(was_there), runs=False) or case.refused(late)


def other_node(case: Case) -> str:
    """Runs here; the same order reaches another node."""
    start = case.order()
    case.hear(start)
    case.other.hear(start)
    return case.check(began=1, runs=True) or ("" if case.other.error(start) == "never" else "the other node took it")


def two_places(case: Case) -> str:
    """Placed here and taken back, now and then after it ran; placed on the other node since, with the next fence. Both orders are well sealed and in time."""
    ran, late = case._chance.random() < 0.5, case.order()
    case.hear(*([case.order()] if ran else []), case.order(DomainDelete))
    moved = case.order(gen=case.gen + 1, fence=case.fence + 1, to=case.other.me)
    steps = [lambda: case.other.hear(moved), lambda: case.hear(late)]
    case._chance.shuffle(steps)
    for step in steps:
        step()
    return case.check(began=int(ran), runs=False, elsewhere=True) or case.refused(late)


def restored_memory(case: Case) -> str:
    """The cluster has an old copy of its memory: of newer generations, as the CLC's orders are, its orders have an older fence."""
    is_running = case._chance.random() < 0.5
    case.hear(case.order(), *([] if is_running else [case.order(DomainStop)]))
    late = [case.order(gen=case.gen + n, fence=case.fence - 1) for n in range(1, case._chance.randint(2, 4))]
    for each in late:
        case.hear(each)
    return case.check(began=1, runs=is_running) or next(filter(None, map(case.refused, late)), "")


SHAPES: dict[str, Callable[[Case], str]] = {
    "same order twice": same_twice, "said again": said_again, "older fence": older_fence, "older than a stop": older_than_stop,
    "after a delete": after_delete, "another node's order": other_node, "orders of two places": two_places, "restored memory": restored_memory,
}


def anew_after_delete(case: Case) -> str:
    """A newer order after a delete is carried out: the guard does not stand in its way. No double start, so it is tried and not counted."""
    case.hear(case.order(), case.order(DomainDelete, gen=case.gen))
    case.hear(case.order(gen=case.gen + 1))
    return case.check(began=2, runs=True)


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """All shapes in turn; nodes begin anew now and then, so that their folders stay short."""
    log.setup("CRITICAL")
    # A clock moved by hand: nobody waits for a guest to end politely.
    before = clock.use(ManualClock(time.time()))
    try:
        return _run(budget, given)
    finally:
        clock.use(before)


def _run(budget: Budget, given: argparse.Namespace) -> Tally:
    found, number = Tally("starts"), 0
    cluster = Cluster()
    while budget.left() > 0 and not (given.most and number >= given.most):
        folder = scratch.folder("starts")
        try:
            nodes = Node(folder, 1, cluster), Node(folder, 2, cluster)
            again = f"python -m tests.soak.starts --seed {budget.seed} --most "
            if wrong := anew_after_delete(Case(nodes, _CONTROL, budget)):
                found.fail("anew after a delete", wrong, f"{again}{number + 1}")
            for _ in range(_FRESH_EVERY):
                if budget.left() <= 0 or (given.most and number >= given.most):
                    break
                number += 1
                shape = list(SHAPES)[number % len(SHAPES)]
                wrong = SHAPES[shape](Case(nodes, number, budget))
                found.count(shape)
                if wrong:
                    found.fail(shape, wrong, f"{again}{number}")
        finally:
            shutil.rmtree(folder)
    return found


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this kind may be told."""
    parser.add_argument("--most", type=int, default=0, help="so many attempts; 0: only by time")


if __name__ == "__main__":
    os.environ |= {"EDUCLOUD_HOST__ROLE": "nc", "DJANGO_SETTINGS_MODULE": "deploy.settings"}
    sys.exit(tally.program("starts", run, arguments))
