"""Deliberate bugs, each a patch that holds inside this process only: what the simulator must find to be worth anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cc.role import ROLE as CC_ROLE
from cc.services import flows, leases, placements, steps
from clc.role import ROLE as CLC_ROLE
from clc.services import deletes, tasks
from luhyaapi import clock, ids, journal
from luhyaapi.command.worker import Worker
from luhyaapi.contracts.vocabulary import TaskState
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.wire.memory import MemoryWire
from luhyadb import boss, memory, outbox
from luhyadb.models import Placement, PortLease, Task
from nc.services import wanted
from nc.services.domains import Domains

Patch = tuple[Any, str, Any]
MESSAGES = ("double", "reorder", "delay", "cut", "cut_one_way")
NEWEST = 1 << 40
"""A generation that no order has."""
DEATHS = ("crash", "crash_at", "outage", "host_power")


@dataclass(frozen=True)
class Bug:
    """``patches`` makes it; ``kinds`` are the faults that bring it to light (none: it needs none), ``actions`` what clients do then.

    ``seen_at`` is a seed that shows it. Where the product guards twice, the bug takes both guards away.
    """

    what: str
    patches: Callable[[], list[Patch]]
    seen_at: int
    kinds: tuple[str, ...] = ()
    actions: tuple[str, ...] | None = None
    longer: int = 1


BUGS: dict[str, Bug] = {}
"""All of them, once :mod:`tests.simulator.image_bugs` is imported too."""


def bug(
    what: str, seen_at: int, kinds: tuple[str, ...] = (), actions: tuple[str, ...] | None = None, longer: int = 1,
) -> Callable[[Callable[[], list[Patch]]], None]:
    """Keep what makes a bug, named as the function is."""

    def keep(patches: Callable[[], list[Patch]]) -> None:
        BUGS[patches.__name__.strip("_")] = Bug(what, patches, seen_at, kinds, actions, longer)

    return keep


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug is in the product while this is open."""
    with patched(BUGS[name].patches()):
        yield


@contextmanager
def patched(patches: list[Patch]) -> Iterator[None]:
    """So is what these patches make."""
    with ExitStack() as back:
        for owner, attribute, fresh in patches:
            if isinstance(owner, dict):
                back.callback(owner.__setitem__, attribute, owner[attribute])
                owner[attribute] = fresh
            else:
                back.callback(object.__setattr__ if attribute == "judge" else setattr, owner, attribute, vars(owner)[attribute])
                (object.__setattr__ if attribute == "judge" else setattr)(owner, attribute, fresh)
        yield


# ---- messages


@bug("an order that is done is carried out again when it comes twice", 116, ("double",))
def _no_inbox() -> list[Patch]:
    real = journal.Journal.accept

    def accept(self: Any, envelope: Any, lane: str) -> Any:
        known = real(self, envelope, lane)
        if known is not None and known.state == journal.DONE:
            with self._write() as db:
                db.execute("update commands set state = 'accepted', attempts = 0 where id = ?", (envelope.id,))
            return None
        return known

    return [(journal.Journal, "accept", accept)]


@bug("a message is acknowledged before it is durable", 4, ("crash_at", "crash_at", "full_disk"))
def _acknowledge_first() -> list[Patch]:
    def deliver(self: Any, queue: tuple[str, str]) -> None:
        direction, host = queue
        if direction == "greet":
            self._greet.pop(host)
            self._connects[host]()
            return
        sender, message = self._queues[queue].popleft()
        if direction == "down":
            self._commands_to[host](message)
        else:
            self._reports_to[host]([(sender, message)])

    return [(MemoryWire, "deliver", deliver)]


@bug("an older report overtakes a newer one", 3, ("reorder", "delay", "double"))
def _old_overtakes() -> list[Patch]:
    return [(boss.BossAgent, "is_fresh", lambda _self, _envelope: True)]


@bug("whoever reports is believed, about anything", 1, ("lie",), ("run", "run_many", "stop", "start", "delete"))
def _judge_off() -> list[Patch]:
    def believe(_envelope: Any, _report: Any) -> None:
        """Nothing is refused."""

    return [(CC_ROLE, "judge", believe), (CLC_ROLE, "judge", believe)]


@bug("an older order is carried out after a newer one", 5, ("delay", "reorder"), ("run", "stop", "stop", "stop", "delete"), 2)
def _no_order_check() -> list[Patch]:
    """The second guard is the node's own: the generation of its wanted file, and of what it removed. The fence is still looked at."""
    real = Domains._newest

    return [
        (flows, "is_overtaken", lambda _envelope: False),
        (Domains, "_newest", lambda self, instance, _gen, fence: real(self, instance, NEWEST, fence)),
        (wanted.WantedFiles, "buried", lambda _self, _instance: -1),
    ]


# ---- what is kept


@bug("what belongs together is not written together", 3, ("crash_at",))
def _non_atomic() -> list[Patch]:
    def atomic() -> Any:
        return contextlib.nullcontext()

    return [(memory, "atomic", atomic), (memory, "on_commit", lambda call: call())]


@bug("an order is posted before the change that wants it is committed", 2, ("crash_at",))
def _outbox_outside() -> list[Patch]:
    real = outbox.put

    def put(order: Any) -> None:
        real(order)
        from tests.simulator.simulation import _running

        role = memory.current()
        agent: Any = _running[-1].p.houses[role].agent if _running and role in _running[-1].p.houses else None
        if agent is not None:
            with contextlib.suppress(Exception):
                envelope = outbox.stamp(order, agent.me, 30)
                agent._post(order.to, envelope, False)

    return [(outbox, "put", put)]


@bug("a wanted file is not on the disk when the order is acknowledged", 0, ("outage", "host_power"))
def _wanted_not_synced() -> list[Patch]:
    def write(path: Any, data: bytes, mode: int = 0o600) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(path.name + ".part")
        half.write_bytes(data)
        half.rename(path)

    return [(wanted, "write_atomic", write)]


@bug("a flow that ended while its role died is not finished", 32, ("crash_committed",))
def _pending_forgotten() -> list[Patch]:
    real = flows.look_after

    def look_after(office: Any) -> int:
        rows = office.agent.journal.open_rows
        office.agent.journal.open_rows = lambda state=journal.ACCEPTED: [] if state == journal.PENDING else rows(state)
        try:
            return real(office)
        finally:
            del office.agent.journal.open_rows

    return [(flows, "look_after", look_after)]


# ---- what is lent


@bug("the port goes back, the address does not", 0)
def _half_release() -> list[Patch]:
    def give_back(instance: str) -> None:
        PortLease.objects.filter(instance=instance).update(instance="", released_at=clock.now())

    return [(leases, "give_back", give_back)]


@bug("a delete forgets what was lent", 0)
def _lease_forgotten() -> list[Patch]:
    return [(leases, "give_back", lambda _instance: None)]


@bug("an address is lent again at once", 0)
def _no_cooldown() -> list[Patch]:
    read = leases.Known.read

    def forget(_cls: Any, network: Any) -> Any:
        return read(network.model_copy(update={"cooldown_s": 0.0}))

    return [(leases.Known, "read", classmethod(forget)), (leases.Known, "is_over", lambda _self, _network: True)]


# ---- placing and taking back


@bug("an instance that has a place is placed once more", 1, ("hypervisor_slow",))
def _placed_again() -> list[Patch]:
    real = placements.place

    def place(office: Any, order: Any, task: str, gen: int) -> Any:
        Placement.objects.filter(pk=order.instance).delete()
        return real(office, order, task, gen)

    return [(placements, "place", place)]


@bug("a node that is silent counts as empty, and its guests are placed elsewhere", 23, ("cut",), ("run", "stop", "start", "start"), 3)
def _silent_node_replaced() -> list[Patch]:
    place = placements.place

    def again(office: Any, order: Any, task: str, gen: int) -> Any:
        row = placements.find(order.instance)
        if row is not None:
            views = placements.children.nodes(office)
            view = next((v for v in views if v.host == row.node), None)
            if view is None or view.last_heard_age_s > 15:
                Placement.objects.filter(pk=row.pk).delete()
        return place(office, order, task, gen)

    return [(placements, "place", again)]


@bug("a step that is taken back leaves its half", 1, ("hypervisor_refuses", "edge_refuses"))
def _undo_forgotten() -> list[Patch]:
    bare = tuple(replace(s, undo=lambda _office, _run: None) for s in flows.FLOWS["instance/run"])
    return [(flows.FLOWS, "instance/run", bare)]


@bug("a cancel is not remembered by those it was told", 39, ("reorder", "delay", "hypervisor_away", "hypervisor_slow"))
def _cancel_does_not_bury() -> list[Patch]:
    return [(journal.Journal, "bury", lambda _self, _task: None)]


@bug("a task without news after its deadline is called done", 15, ("clock_forward", "clock_forward", "clock_forward", "hypervisor_slow"), longer=3)
def _lost_is_done() -> list[Patch]:
    def lose_overdue() -> int:
        overdue = Task.objects.filter(state__in=[TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELLING], deadline__lt=clock.now())
        return len([tasks.advance(t, "finish") for t in overdue])

    return [(tasks, "lose_overdue", lose_overdue)]


# ---- nodes


@bug("what could not be wiped at once is never wiped", 14, ("hypervisor_refuses", "crash_at"))
def _half_wiped() -> list[Patch]:
    real = Domains._look

    def look(self: Any, instance: str, found: Any) -> None:
        kept = self.wanted.read(instance)
        if kept is None or kept.state != "deleted":
            real(self, instance, found)

    return [(Domains, "_look", look), (deletes, "again", lambda: 0)]


@bug("a deleted guest keeps its image pinned", 0)
def _pin_forgotten() -> list[Patch]:
    real = BlobCache.unpin

    def unpin(self: Any, sha256: str, owner: str, until: float = 0) -> None:
        if not ids.is_id(owner, "ins"):
            real(self, sha256, owner, until)

    return [(BlobCache, "unpin", unpin)]


@bug("an order that failed is said to be done", 4, ("hypervisor_refuses", "full_disk"))
def _failure_is_done() -> list[Patch]:
    real = Worker.end

    def end(self: Any, envelope: Any, error: Any, facts: dict[str, Any]) -> None:
        real(self, envelope, None if envelope.kind.startswith("domain/") else error, facts)

    return [(Worker, "end", end)]


__all__ = ["BUGS", "Bug", "planted", "steps"]
