"""Which node takes an instance, and why no other one did: filters, then weighers; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter

from luhyaapi.contracts.commands import DomainStart
from luhyaapi.contracts.specs import Capacity
from luhyaapi.contracts.vocabulary import HostState, Usage
from luhyaapi.errors import Unavailable

NAMED = 50
START = DomainStart.kind


@dataclass(frozen=True)
class Wanted:
    """What an instance needs. Sizes in MiB; ``images`` are the sha256 of its image's files; ``disk_mib`` room for its writes."""

    cpus: int
    memory_mib: int
    usage: Usage = Usage.SERVER
    images: frozenset[str] = frozenset()
    disk_mib: int = 0


@dataclass(frozen=True)
class NodeView:
    """A node as the cluster knows it now. ``capacity`` is offered in all (over-commitment included), ``used`` is placed.

    ``hypervisor_trouble`` is empty while the hypervisor answers. ``cached`` holds sha256 of files it has,
    ``speaks`` the command kinds it understands, ``load`` is the average of one minute.
    """

    host: str
    name: str = ""
    state: HostState = HostState.UP
    draining: bool = False
    capacity: Capacity = field(default_factory=Capacity)
    used: Capacity = field(default_factory=Capacity)
    cached: frozenset[str] = frozenset()
    guests: int = 0
    load: float = 0.0
    last_heard_age_s: float = 0.0
    speaks: frozenset[str] = frozenset((DomainStart.kind,))
    hypervisor_trouble: str = ""

    @property
    def memory_free_mib(self) -> int:
        """Offered memory that nothing is placed in."""
        return self.capacity.memory_mib - self.used.memory_mib


@dataclass(frozen=True)
class Choice:
    """The node that takes it, how it weighed, and all that were looked at."""

    node: NodeView
    weight: float
    wanted: Wanted
    nodes: tuple[NodeView, ...]

    @cached_property
    def why(self) -> dict[str, str]:
        """For every other node, by host id, a sentence why not; made when first asked for."""
        others = [each for each in self.nodes if each is not self.node]
        return {each.host: refusal(self.wanted, each) or _outweighed(self, each) for each in others}


Filter = Callable[[Wanted, NodeView], str]
Weigher = Callable[[Wanted, NodeView], float]


def state_up(_wanted: Wanted, node: NodeView) -> str:
    """Only a host that is up takes something."""
    if node.state in (HostState.UP, HostState.DRAINING):
        return ""
    return f"is {node.state.value}, last heard {node.last_heard_age_s:.0f} s ago"


def not_draining(_wanted: Wanted, node: NodeView) -> str:
    """A host being emptied takes nothing new."""
    return "is being drained" if node.draining or node.state is HostState.DRAINING else ""


def speaks_start(_wanted: Wanted, node: NodeView) -> str:
    """A host takes what it can be told."""
    return "" if START in node.speaks else f"does not understand {DomainStart.kind}"


def hypervisor_answers(_wanted: Wanted, node: NodeView) -> str:
    """A host without its hypervisor runs nothing."""
    return f"its hypervisor does not answer: {node.hypervisor_trouble}" if node.hypervisor_trouble else ""


def enough_memory(wanted: Wanted, node: NodeView) -> str:
    """Offered memory is never promised twice."""
    return _short("memory", "MiB", wanted.memory_mib, node.used.memory_mib, node.capacity.memory_mib)


def enough_cpus(wanted: Wanted, node: NodeView) -> str:
    """The offered processors already count over-commitment."""
    return _short("processors", "CPUs", wanted.cpus, node.used.cpus, node.capacity.cpus)


def enough_disk(wanted: Wanted, node: NodeView) -> str:
    """Room for what the guest will write."""
    return _short("disk", "MiB", wanted.disk_mib, node.used.disk_mib, node.capacity.disk_mib)


def _short(what: str, unit: str, wanted: int, used: int, offered: int) -> str:
    if wanted <= offered - used or wanted == 0:
        return ""
    free = max(offered - used, 0)
    return f"not enough {what}: {wanted} {unit} wanted, {free} of {offered} free"


def memory_left(wanted: Wanted, node: NodeView) -> float:
    """Share of the offered memory that stays free."""
    offered = node.capacity.memory_mib
    return (node.memory_free_mib - wanted.memory_mib) / offered if offered else 0.0


def image_cached(wanted: Wanted, node: NodeView) -> float:
    """Share of the image's files that need not travel."""
    return len(wanted.images & node.cached) / len(wanted.images) if wanted.images else 0.0


def few_guests(_wanted: Wanted, node: NodeView) -> float:
    """One for an empty node, a half with one guest, a third with two."""
    return 1 / (1 + node.guests)


FILTERS: tuple[Filter, ...] = (
    state_up, not_draining, speaks_start, hypervisor_answers, enough_memory, enough_cpus, enough_disk,
)
_MEMORY, _GUESTS, _IMAGE = 2.0, 0.5, 0.05
WEIGHERS: tuple[tuple[str, float, Weigher], ...] = (
    ("free memory", _MEMORY, memory_left),
    ("image there", _IMAGE, image_cached),
    ("few guests", _GUESTS, few_guests),
)
"""The image is a bonus among nodes with comparable room: it weighs as much as a fortieth of a node's memory, and less than one
guest instead of two. So of equal nodes the one with the image takes the first guest, the others take the next ones and bring
the image once each. Were it more, one node would fill up before a second is used; were it nothing, a start could bring the
image to yet another node where one just as good has it."""


def refusal(wanted: Wanted, node: NodeView) -> str:
    """The sentence of the first filter that refuses the node, or nothing."""
    for each in FILTERS:
        if sentence := each(wanted, node):
            return sentence
    return ""


def room(capacity: Capacity, used_mib: int, guests: int) -> float:
    """How good a node is whatever is wanted: its free memory and few guests."""
    free = (capacity.memory_mib - used_mib) / capacity.memory_mib if capacity.memory_mib else 0.0
    return _MEMORY * free + _GUESTS / (1 + guests)


def needs(wanted: Wanted, memory_mib: int) -> float:
    """What it loses by taking it."""
    return _MEMORY * wanted.memory_mib / memory_mib if memory_mib else 0.0


def weigh(wanted: Wanted, node: NodeView) -> float:
    """How good a fitting node is, up to 2.55: the sum of all weighers, each by its weight."""
    without = room(node.capacity, node.used.memory_mib, node.guests) - needs(wanted, node.capacity.memory_mib)
    return without + _IMAGE * image_cached(wanted, node)


def choose(wanted: Wanted, nodes: Iterable[NodeView]) -> Choice:
    """The heaviest node that no filter refuses; of equals the lowest id. The order of ``nodes`` means nothing.

    Raises Unavailable(no_capacity) with each node's reason; ``params["nodes"]`` holds them all by host id.
    """
    every = tuple(nodes)
    fitting = [(-weigh(wanted, each), each.host, each) for each in every if not refusal(wanted, each)]
    if not fitting:
        raise _nobody(wanted, {each.host: refusal(wanted, each) for each in every})
    lightness, _host, best = min(fitting, key=itemgetter(0, 1))
    return Choice(best, -lightness, wanted, every)


def _outweighed(choice: Choice, node: NodeView) -> str:
    parts = ", ".join(f"{name} {value(choice.wanted, node):.2f}" for name, _weight, value in WEIGHERS)
    weight, best = weigh(choice.wanted, node), choice.node.host
    if weight == choice.weight:
        return f"fits, but {best} weighed the same and has the lower id ({parts})"
    return f"fits, but {best} weighed more ({choice.weight:.2f} against {weight:.2f}: {parts})"


def _nobody(wanted: Wanted, why: dict[str, str]) -> Unavailable:
    if not why:
        return Unavailable("no_capacity", "No node can take it", "no node has joined this cluster", nodes=why)
    cpus = "1 CPU" if wanted.cpus == 1 else f"{wanted.cpus} CPUs"
    what = f"No node can take {cpus} and {wanted.memory_mib} MiB of memory now"
    told = [f"{host} {why[host]}" for host in sorted(why)]
    more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
    return Unavailable("no_capacity", what, "; ".join(told[:NAMED] + more), nodes=why)
