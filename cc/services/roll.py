"""The nodes in the order of their room, and what is lent, kept between one placement and the next: a copy, good for one number.

Every change of places, leases, networks or children raises the number of the pool's row in its own transaction. Whoever places reads it
with the row locked; a copy of another number is read anew. So a copy may be thrown away at any moment, and one that is wrong
is never used. The order makes that a placement looks at few nodes; which one it chooses is what ``placement.choose`` says.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cc.services import leases, placement
from cc.services.placement import Choice, NodeView, Wanted
from luhyaapi import clock
from luhyaapi.conf import Network
from luhyaapi.contracts.commands import InstanceRun
from luhyaapi.contracts.specs import Capacity, Nic
from luhyaapi.contracts.vocabulary import HostState, InstanceState, Role
from luhyadb import memory
from luhyadb.models import Child, Placement

if TYPE_CHECKING:
    from cc.services.office import Office

_NOBODYS = -1
_SMALL, _NAMED = 64, 20
"""In a small cluster every other node's reason is told, in a large one those of so many."""
_FEW = 64
"""So many nodes with an image are looked at one by one; of more, the first in order that fits is as good as any."""


@dataclass
class Node:
    """A child with what is placed on it: CPUs, MiB, guests; of ``disk_mib`` also what stopped ones hold. ``last_heard`` is as old as the database's."""

    host: str
    name: str
    draining: bool
    capacity: Capacity
    speaks: frozenset[str]
    last_heard: float
    cpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    guests: int = 0

    @property
    def place(self) -> tuple[float, str]:
        """Where it stands among nodes of its memory: most room first, of equals the lowest id."""
        return -placement.room(self.capacity, self.memory_mib, self.guests), self.host

    @property
    def takes_some(self) -> bool:
        """Whether it may take anything, as far as the tables say."""
        return not self.draining and placement.START in self.speaks

    def view(self, office: Office, since: float, age_s: float | None = None) -> NodeView:
        """The node as placement sees it: the rest from its last heartbeat, ``age_s`` ago."""
        settings, facts = office.agent.settings.beat, office.facts.get(self.host)
        if age_s is None:
            age_s = self.age_s(office, since)
        return NodeView(
            host=self.host, name=self.name, state=HostState.SILENT if age_s > settings.every_s * settings.silent_after else HostState.UP,
            draining=self.draining, capacity=self.capacity, used=Capacity(cpus=self.cpus, memory_mib=self.memory_mib, disk_mib=self.disk_mib),
            cached=frozenset(facts.blobs) if facts else frozenset(), guests=self.guests, load=facts.load if facts else 0.0,
            last_heard_age_s=age_s, speaks=self.speaks, hypervisor_trouble=facts.health if facts else "",
        )

    def age_s(self, office: Office, since: float) -> float:
        """How long ago it was heard, while we listened."""
        return clock.now() - max(office.agent.relay.heard.get(self.host, self.last_heard), since)


def _takes_some(node: Node) -> bool:
    return node.takes_some


def read(without: str = "") -> dict[str, Node]:
    """Every node by id, from the tables; the use does not count the instance ``without``."""
    found = {
        pk: Node(pk, name, draining, Capacity(cpus=cpus, memory_mib=memory, disk_mib=disk), frozenset(speaks), last_heard)
        for pk, name, draining, cpus, memory, disk, speaks, last_heard in Child.objects.filter(role=Role.NC).order_by("pk").values_list(
            "pk", "name", "draining", "cpus", "memory_mib", "disk_mib", "speaks", "last_heard")
    }
    placed = Placement.objects.exclude(pk=without)
    for host, cpus, memory_mib in placed.exclude(wanted=InstanceState.STOPPED).values_list("node", "cpus", "memory_mib"):
        if host in found:
            node = found[host]
            node.cpus, node.memory_mib, node.guests = node.cpus + cpus, node.memory_mib + memory_mib, node.guests + 1
    for host, disk_mib in placed.exclude(disk_mib=0).values_list("node", "disk_mib"):
        if host in found:
            found[host].disk_mib += disk_mib
    return found


@dataclass
class Roll:
    """The copy. Used by whoever holds the pool's row, one at a time."""

    number: int = _NOBODYS
    known: leases.Known | None = None
    nodes: dict[str, Node] = field(default_factory=dict)
    _orders: dict[int, list[tuple[float, str]]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def at(self, number: int, network: Network) -> Roll:
        """Have the copy of that number. What is read anew is a copy of this transaction, and kept only with it."""
        with self._lock:
            if self.number != number:
                self.nodes, self.known = read(), leases.Known.read(network)
                self._orders = {}
                for node in filter(_takes_some, self.nodes.values()):
                    self._orders.setdefault(node.capacity.memory_mib, []).append(node.place)
                for order in self._orders.values():
                    order.sort()
            elif self.known is not None and self.known.is_over(network):
                self.known = leases.Known.read(network)
            else:
                return self
            self.number, known = _NOBODYS, self.known
            memory.on_commit(lambda: self._keep(number, known))
        return self

    def _keep(self, number: int, known: leases.Known) -> None:
        """The transaction in which it was read is committed, and nobody read it anew since."""
        with self._lock:
            if self.known is known:
                self.number = number

    def moved(self, before: int, node: str, cpus: int, memory_mib: int, guests: int, disk_mib: int) -> bool:
        """What changed with one committed placement or release; False when the copy is another's by now."""
        with self._lock:
            if self.number != before:
                return False
            self.number += 1
            found = self.nodes.get(node)
            if found is None:
                return True
            order = self._orders[found.capacity.memory_mib] if found.takes_some else []
            if order:
                del order[bisect.bisect_left(order, found.place)]
            found.cpus, found.memory_mib, found.guests = found.cpus + cpus, found.memory_mib + memory_mib, found.guests + guests
            found.disk_mib += disk_mib
            if found.takes_some:
                bisect.insort(order, found.place)
            return True

    def placed(self, before: int, node: str, order: InstanceRun, nics: Sequence[Nic], *, had_leases: bool) -> None:
        """A placement was committed."""
        with self._lock:
            if had_leases:
                return  # which of them it had is not known here: the copy is read anew
            known = self.known
            if self.moved(before, node, order.cpus, order.memory_mib, 1, order.data_disk_mib) and known is not None:
                known.took(order.instance, nics)

    def released(self, before: int, row: Placement) -> None:
        """A release was committed."""
        with self._lock:
            cpus, memory_mib, guests = (0, 0, 0) if row.wanted == InstanceState.STOPPED else (row.cpus, row.memory_mib, 1)
            if self.moved(before, row.node, -cpus, -memory_mib, -guests, -row.disk_mib) and self.known is not None:
                self.known.gave_back(row.pk)

    def choose(self, wanted: Wanted, office: Office) -> Choice:
        """As ``placement.choose`` does over all nodes, looking at few. Raises Unavailable(no_capacity) with each node's reason."""
        search = _Search(self.nodes, wanted, office)
        for memory_mib, order in self._orders.items():
            search.by_room(order, placement.needs(wanted, memory_mib))
        holders = office.holding(wanted.images)
        if len(holders) <= _FEW:
            for host in holders & self.nodes.keys():
                search.look(host)
        else:
            for order in self._orders.values():
                search.by_image(order, holders)
        if search.best is None:
            return placement.choose(wanted, [node.view(office, search.since) for node in self.nodes.values()])
        lightness, _, view = search.best
        return Choice(view, -lightness, wanted, tuple(self._named(search.looked, view, office, search.since)))

    def _named(self, looked: dict[str, NodeView], best: NodeView, office: Office, since: float) -> Iterator[NodeView]:
        """The chosen one, and the others whose reasons are told: those looked at, then as many as are named of the rest."""
        yield best
        for host in itertools.islice(self._first(looked, best.host), None if len(self.nodes) <= _SMALL else _NAMED):
            yield looked.get(host) or self.nodes[host].view(office, since)

    def _first(self, looked: Iterable[str], best: str) -> Iterator[str]:
        seen = {best}
        for hosts in (looked, self.nodes):
            for host in hosts:
                if host not in seen:
                    seen.add(host)
                    yield host


class _Search:
    """The best of the nodes looked at: of equals the lowest id."""

    def __init__(self, nodes: dict[str, Node], wanted: Wanted, office: Office) -> None:
        self._nodes, self._wanted, self._office = nodes, wanted, office
        beat = office.agent.settings.beat
        self._silent_s = beat.every_s * beat.silent_after
        self.since = office.agent.listening_since() or clock.now()
        self.best: tuple[float, str, NodeView] | None = None
        self.looked: dict[str, NodeView] = {}

    def look(self, host: str) -> NodeView | None:
        """Weigh one, if it fits."""
        node = self._nodes[host]
        if (age_s := node.age_s(self._office, self.since)) > self._silent_s:
            return None
        view = self.looked[host] = node.view(self._office, self.since, age_s)
        if placement.refusal(self._wanted, view):
            return None
        weighed = -placement.weigh(self._wanted, view), host, view
        if self.best is None or weighed[:2] < self.best[:2]:
            self.best = weighed
        return view

    def by_room(self, order: list[tuple[float, str]], needs: float) -> None:
        """Until none behind can be better, but for the image it has."""
        for lightness, host in order:
            if self.best is not None and (lightness + needs, host) > self.best[:2]:
                return
            self.look(host)

    def by_image(self, order: list[tuple[float, str]], holders: set[str]) -> None:
        """Up to the first that fits and has all of the image: none behind it can weigh more."""
        for _, host in order:
            if host in holders and (view := self.look(host)) is not None and self._wanted.images <= view.cached:
                return
