"""A whole cloud on one disk, copied from a template; its clock, its wire and its crashes are moved by hand."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cc.services import children
from clc.services import hosts, images, imports, instances, people, uploads
from deploy.playground import Playground
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.vocabulary import DomainState, NetworkMode
from luhyaapi.machines import INSTANCE, TASK
from luhyadb import memory
from luhyadb.models import (
    Account,
    AddressLease,
    FlowRun,
    Image,
    ImageVersion,
    Instance,
    Outbox,
    Placement,
    PortLease,
    Segment,
    Task,
)
from tests.support import backends, scratch

KERNEL = b"\x00" * 0x202 + b"HdrS" + b"k" * 3000
NODES = ("nc1", "nc2")


class HandClock(ManualClock):
    """Moves only by hand; waiting for another thread really waits, so that time does not run away meanwhile."""

    def __init__(self, start: float) -> None:
        super().__init__(start)
        self._alarms: list[tuple[float, Callable[[], object]]] = []

    def at(self, moment: float, call: Callable[[], object]) -> None:
        """Have something happen when that moment is slept over."""
        self._alarms.append((moment, call))

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        due = [call for moment, call in self._alarms if moment <= self.now()]
        self._alarms = [alarm for alarm in self._alarms if alarm[0] > self.now()]
        for call in due:
            call()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


class Crash(BaseException):
    """The process is gone at this point: nothing of ours may catch it."""


class World:
    """A cloud of two nodes with one published image ``tiny`` and one user; ``p`` is its playground."""

    def __init__(self, folder: Path, hand: HandClock) -> None:
        self.folder = folder
        self.clock = hand
        self.p = Playground(folder, folder / "clc", cpus=200, memory_mib=200 * 1024, over=backends.over(folder))
        self.wire = self.p.wire

    # ---- acting

    @property
    def user(self) -> Account:
        return Account.objects.get(username="ada")

    @property
    def admin(self) -> Account:
        return Account.objects.get(username="root")

    def role(self, name: str):
        """The services of a role."""
        return self.p.houses[name].agent.services

    def node(self, instance: str) -> str:
        """The name of the node an instance is placed on, or an empty text."""
        with memory.of("cc"):
            row = Placement.objects.filter(pk=instance).first()
        return next((n for n in self._there() if row and self.p.houses[n].agent.me == row.node), "")

    def _there(self) -> list[str]:
        """The nodes whose machine is on."""
        return [name for name in NODES if name in self.p.houses]

    def ask(self, verb: str = "run", ident: str = "", **more) -> tuple[str, str]:
        """Ask for something without letting anything happen; instance and task."""
        if verb == "run":
            (row,) = instances.run(self.user, instances.Ask("tiny", **more))
        else:
            row = getattr(instances, verb)(self.user, ident, **more)
        return row.pk, row.task

    def do(self, verb: str = "run", ident: str = "", **more) -> str:
        """Ask and let it happen; the instance. The task must be done."""
        ident, task = self.ask(verb, ident, **more)
        self.p.settle()
        assert self.task(task) == ("done", None)
        return ident

    def cold(self) -> None:
        """The next run must fetch its image: the cluster has dropped it, and knows of no node that has it."""
        office = self.role("cc")
        for facts in list(office.facts.values()):
            office.saw(facts.model_copy(update={"blobs": ()}))
        for sha256 in office.cache.sha256s():
            office.cache.remove(sha256)

    def warm(self) -> None:
        """Every node has the image, and the cluster knows it."""
        ones = [self.ask()[0] for _ in NODES]
        self.p.settle()
        assert {self.node(one) for one in ones} == set(NODES)
        for one in ones:
            self.do("delete", one)
        self.p.pass_time(10)

    def task(self, task: str) -> tuple[str, str | None]:
        """State and error code of a task."""
        row = Task.objects.get(pk=task)
        return row.state, row.error and row.error["code"]

    def state(self, ident: str) -> str:
        """What the CLC says of an instance."""
        return Instance.objects.get(pk=ident).state

    def crash(self, name: str) -> None:
        """A role is killed and started again."""
        self.p.restart(name)

    def set(self, name: str, **groups: Any) -> None:
        """A role is killed and started again with other settings, whole groups of them."""
        self.p._settings_of[name] = self.p._settings(name).model_copy(update=groups)
        self.crash(name)

    def upload(self, name: str, data: bytes = KERNEL, part: str = "kernel", digest: str = "") -> Task:
        """An image, or its next version, as a browser uploads it, up to the click on publish."""
        up = uploads.begin(self.admin, images.Ask(name, ({"part": part, "size_bytes": len(data)},), new_version=_is_there(name)))
        library = self.role("walrus").library
        library.open_upload(up.id, [(part, len(data))])
        library.write(up.id, part, 0, io.BytesIO(data), len(data))
        digest = digest or hashlib.sha256(data).hexdigest()
        return uploads.complete(self.admin, up.id, ({"part": part, "sha256": digest},))

    def bring(self, url: str, name: str = "brought", **more) -> Task:
        """An image, or its next version, from a URL, up to the order to the store."""
        return imports.begin(self.admin, imports.Ask(name, url, new_version=_is_there(name), **more))

    def drain(self, name: str) -> None:
        """Nothing new is placed on a node."""
        with memory.of("cc"):
            children.drain(self.p.houses[name].agent.me, on=True)

    def drain_by_order(self, name: str) -> None:
        """The same, as an administrator asks for it."""
        hosts.drain(self.admin, self.p.known[name][0].host, on=True)
        self.p.settle()

    # ---- seeing

    def domains(self) -> dict[str, list[tuple[str, DomainState]]]:
        """Every domain of every node, by instance."""
        found: dict[str, list[tuple[str, DomainState]]] = {}
        for name in self._there():
            for facts in self.p.hypervisor(name).list():
                found.setdefault(facts.instance, []).append((name, facts.state))
        return found

    def open_things(self) -> dict[str, list[str]]:
        """What is under way anywhere; empty at rest."""
        open_: dict[str, list[str]] = {}
        for name, house in self.p.houses.items():
            journal = house.agent.journal
            rows = [f"{r.kind} {r.id}" for r in (*journal.open_rows(), *journal.open_rows("pending"))]
            if rows or journal.reports():
                open_[name] = [*rows, *(f"report {n}" for n, _ in journal.reports())]
        open_["tasks"] = [f"{t.pk} {t.kind} {t.state}" for t in Task.objects.all() if t.state not in TASK.final]
        open_["clc outbox"] = [r.command for r in Outbox.objects.all()]
        with memory.of("cc"):
            open_["cc outbox"] = [r.command for r in Outbox.objects.all()]
            open_["flows"] = [f"{r.kind} {r.command} step {r.step} waiting {r.waiting}" for r in FlowRun.objects.filter(ended_at=0)]
        return {k: v for k, v in open_.items() if v}

    def rest(self, *, unknown: bool = False) -> None:
        """Assert that nothing is under way and that all pictures agree."""
        assert self.open_things() == {}
        domains = self.domains()
        with memory.of("cc"):
            places = {p.pk: p for p in Placement.objects.all()}
            lent = AddressLease.objects.exclude(instance="")
            holders = sorted(lent.values_list("instance", flat=True))
            behind_nodes = list(Segment.objects.filter(spec__mode=NetworkMode.NODE).values_list("pk", flat=True))
            served = sorted(lent.exclude(network__in=behind_nodes).values_list("instance", flat=True))
            ports = sorted(PortLease.objects.exclude(instance="").values_list("instance", flat=True))
        assert holders == ports == sorted(places), "each placement has one address and one port, and nobody else"
        plan = self.role("cc").edge.found()
        assert sorted(lease.instance for network in plan.networks for lease in network.leases if lease.instance) == served, "DHCP knows the leases"
        folders = {i: n for n in self._there() for i in self.role(n).domains.wanted.all()}
        assert set(folders) <= set(places), "no folder without a placement"
        assert set(domains) <= set(places), "no domain without a placement"
        for row in Instance.objects.all():
            self._agree(row, places.get(row.pk), domains.get(row.pk, []), unknown=unknown)

    def _agree(self, row: Instance, place: Placement | None, domains: list, *, unknown: bool) -> None:
        assert row.state in INSTANCE.stable, f"{row.pk} is {row.state}"
        assert len(domains) <= 1, f"{row.pk} lives on several nodes: {domains}"
        if row.state == "deleted":
            assert place is None, f"{row.pk} is deleted and has a place"
            for name in self._there():
                services = self.role(name)
                assert not services.domains.wanted.folder(row.pk).exists()
                assert row.pk not in str(services.cache.pins())
                assert row.pk not in services.domains._hands.network.found().values()
            return
        runs = bool(domains) and domains[0][1] is DomainState.RUNNING
        if place is not None:
            assert (place.wanted == "running") == runs, f"{row.pk}: the cluster wants {place.wanted}, its domain: {domains}"
            assert not domains or self.node(row.pk) == domains[0][0]
        if not unknown:
            assert (row.state == "running") == runs, f"{row.pk} is {row.state}, its domain: {domains}"
            assert place is None or (row.node, row.nics) == (place.node, place.spec["nics"])

    def until_rest(self, longest_s: float = 300) -> None:
        """Time goes by until everything is at rest, and at most so long."""
        for _ in range(int(longest_s // 5)):
            if not self.open_things():
                break
            self.p.pass_time(5)
        self.p.pass_time(5)

    def long(self, seconds: float) -> None:
        """Much time goes by, in the longest beats that nobody takes for silence."""
        for _ in range(int(seconds // 14)):
            self.clock.sleep(14)
            self.p.beat()

    # ---- the wire

    def tap(self, fault: Callable[[str, str, bytes], list[bytes]]) -> None:
        self.wire.fault = fault

    def inject(self, direction: str, host: str, message: bytes) -> None:
        """Deliver a message that was held back."""
        self.wire.inject(direction, host, message)


def opened(message: bytes) -> dict:
    """The envelope of a sealed message."""
    return json.loads(json.loads(message)["signed"])


def populate(world: World) -> None:
    """An administrator, a user, all roles joined and one published image."""
    people.add(None, "root", "correct horse battery", "superAdm")
    people.add(None, "ada", "correct horse battery", "user")
    world.p.start()
    world.upload("tiny")
    world.p.settle()
    assert ImageVersion.objects.get().state == "published"
    assert Image.objects.get().name == "tiny"


def make_template() -> tuple[Path, float]:
    """A folder with a cloud that has joined, and the time it shows."""
    folder = scratch.folder("flow")
    hand = HandClock(time.time())
    before = clock.use(hand)
    try:
        with backends.opened(folder, is_template=True):
            for alias in backends.ALIASES:
                backends.make_tables(alias)
            populate(World(folder, hand))
    finally:
        clock.use(before)
    return folder, hand.now()


@contextlib.contextmanager
def fresh(template: tuple[Path, float]) -> Iterator[World]:
    """A copy of the template, at work."""
    folder = scratch.folder("flow")
    shutil.copytree(template[0], folder, dirs_exist_ok=True)
    hand = HandClock(template[1])
    before = clock.use(hand)
    try:
        backends.copy_objects(template[0], folder)
        with backends.opened(folder, is_template=False):
            world = World(folder, hand)
            world.p.resume()
            world.p.beat()
            yield world
    finally:
        clock.use(before)
        shutil.rmtree(folder, ignore_errors=True)


def _is_there(name: str) -> bool:
    return Image.objects.filter(name=name, retired=False).exists()
