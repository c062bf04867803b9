"""How each role's process is put together: agent, links, drivers, door. The only place that knows all roles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import bell
from luhyaapi.agent import Agent
from luhyaapi.conf import Settings, bridge_for
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.process import Loop
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.wire.http import Door
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.link import DownLink, UpLink

_DIRECTORIES_S = 60.0
"""How often is asked whether a directory is due to be checked."""


@dataclass
class House:
    """One running role: its agent, its door and further loops."""

    agent: Agent
    door: Door | None = None
    loops: list[Loop] = field(default_factory=list)
    extras: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """Open the door, begin the loops."""
        for extra in self.extras:
            extra.start()
        if self.door:
            self.door.start()
        self.agent.start()
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """Close everything, orderly."""
        for loop in self.loops:
            loop.stop()
        self.agent.stop()
        if self.door:
            self.door.stop()
        for extra in self.extras:
            extra.stop()


@dataclass(frozen=True)
class Links:
    """The ends of the wire a role gets."""

    up: UpLink | None = None
    down: DownLink | None = None
    inline: bool = False


def _cache(settings: Settings, name: str) -> BlobCache:
    c = settings.cache
    return BlobCache(settings.host.state / name, c.quota_mib, c.keep_free_mib, c.take_mbit)


def _plug(agent: Agent, beat: Any) -> None:
    agent.hello, agent.beat, agent.reconcile = beat.hello, beat.beat, beat.reconcile


def clc(settings: Settings, own: Membership, key: Ed25519PrivateKey, links: Links) -> House:
    """The relay of the CLC: reports in, orders out."""
    from clc import door
    from clc.beat import Beat
    from clc.role import ROLE
    from clc.services import directory_checks
    from clc.services.hosts import SignsOfLife
    from clc.services.office import Office
    from luhyaapi.status.board import Board
    from luhyadb.boss import BossAgent
    from luhyadb.models import Host

    class ClcAgent(BossAgent):
        """Knows every host."""

        @staticmethod
        def known(hosts: Collection[str]) -> Iterable[tuple[str, str, str]]:
            return Host.objects.filter(pk__in=hosts).exclude(state="retired").order_by().values_list("pk", "certificate", "boss")

        @staticmethod
        def children_of(boss: str) -> Iterable[str]:
            return Host.objects.filter(boss=boss).exclude(state="retired").order_by().values_list("pk", flat=True)

    agent = ClcAgent(ROLE, settings, own, key, down=links.down, inline=links.inline)
    agent.services = Office(Board(settings.board.host, settings.board.port, settings.beat.every_s), SignsOfLife(settings.beat.save_s))
    _plug(agent, Beat(agent))
    if links.inline:
        return House(agent)

    def check_directories() -> None:
        with agent.memory():
            directory_checks.tend()

    # a loop of its own: a directory that hangs must not keep the beat waiting
    loops = [Loop("directories", check_directories, _DIRECTORIES_S)]
    return House(agent, door.make(agent), loops, extras=[bell.Bell(settings.host.state / bell.NAME, agent.post_soon)])


def cc(settings: Settings, own: Membership, key: Ed25519PrivateKey, links: Links) -> House:
    """A cluster controller."""
    from cc import door
    from cc.beat import Beat
    from cc.drivers import EDGES
    from cc.role import ROLE
    from cc.services.arrivals import ClusterArrivals
    from cc.services.office import Office
    from cc.services.tunnels import Tunnels
    from luhyaapi.wire import stream, tls
    from luhyaapi.wire.identity import role_name
    from luhyadb.boss import BossAgent
    from luhyadb.models import Child

    class CcAgent(BossAgent):
        """Knows its children."""

        @staticmethod
        def known(hosts: Collection[str]) -> Iterable[tuple[str, str, str]]:
            return [(host, pem, "") for host, pem in Child.objects.filter(pk__in=hosts).values_list("pk", "certificate")]

    agent = CcAgent(ROLE, settings, own, key, up=links.up, down=links.down, inline=links.inline)
    joins = settings.host.state / "joins"
    joins.mkdir(parents=True, exist_ok=True)
    cache = _cache(settings, "cache")
    arrivals = ClusterArrivals(settings.host.state / "arrivals", cache, lambda _host: tls.trust(agent.identity, role_name(Role.WALRUS)), inline=links.inline)
    office = Office(agent, EDGES[settings.network.driver](settings), cache, arrivals, joins)
    agent.services = office
    _plug(agent, Beat(agent))
    house = House(agent)
    if not links.inline:
        boss = office.boss = stream.dialling(own, settings.host.identity)
        office.tunnels = Tunnels(settings.network)
        office.streams = stream.Exchange(
            settings.host.listen, settings.host.stream_port, lambda secret, _child: stream.dial(boss, secret, agent.me),
            serving=tls.doors(settings.host), on_refused=lambda secret, error: stream.refuse(boss, secret, agent.me, error),
        )
        house.extras += [office.streams, _Resuming(arrivals.go_on)]
        house.door = door.make(office)
    return house


def nc(settings: Settings, own: Membership, key: Ed25519PrivateKey, links: Links) -> House:
    """A node controller."""
    from luhyaapi.wire import tls
    from nc import door
    from nc.beat import Beat
    from nc.drivers import HYPERVISORS, METADATA, NETWORKS
    from nc.role import ROLE
    from nc.services.domains import Domains, Hands
    from nc.services.lazy.exports import Exports
    from nc.services.metadata import Metadata
    from nc.services.office import Office

    agent = Agent(ROLE, settings, own, key, up=links.up, inline=links.inline)
    cache = _cache(settings, "cache")
    hypervisor = HYPERVISORS[settings.hypervisor.driver](settings)
    door_of = METADATA.get(settings.network.node_driver)
    metadata = Metadata(partial(door_of, settings), partial(bridge_for, settings.network.bridge), own.boss) if door_of else None
    hands = Hands(hypervisor, NETWORKS[settings.network.node_driver](settings), cache, metadata)
    exports = Exports(settings, cache, lambda host: tls.trust(agent.identity, host or agent.boss), inline=links.inline)
    office = Office(agent, cache, Domains(settings, hands, own.host, agent.report, exports))
    agent.services = office
    beat = Beat(agent, hypervisor)
    _plug(agent, beat)
    house = House(agent)
    house.extras.append(_Probing(beat))
    if not links.inline:
        house.extras = [_Resuming(office.domains.standing.resume), _Resuming(office.domains.exports.go_on)]
        house.door = door.make(office)
        if metadata:
            house.extras.append(_Closing(metadata.close))
        house.loops = [Loop("prove", beat.prove, settings.beat.reconcile_s), Loop("look", beat.look, 0.2)]
    return house


@dataclass
class _Closing:
    """What was opened on the way ends with the role."""

    stop: Callable[[], None]

    def start(self) -> None:
        """It begins when it is needed."""


@dataclass
class _Resuming:
    """What waited for this process goes on before its door opens."""

    start: Callable[[], None]

    def stop(self) -> None:
        """It waits for the next one."""


@dataclass
class _Probing:
    """In one process the proof is made once, at the start."""

    beat: Any

    def start(self) -> None:
        self.beat.prove()

    def stop(self) -> None:
        """Nothing runs."""


def walrus(settings: Settings, own: Membership, key: Ed25519PrivateKey, links: Links) -> House:
    """The image store."""
    from walrus import door
    from walrus.beat import Beat
    from walrus.drivers import STORES
    from walrus.role import ROLE
    from walrus.services.blockstore import BlockStore
    from walrus.services.imports import Imports
    from walrus.services.library import Library
    from walrus.services.objects import WatchedStore
    from walrus.services.office import Office
    from walrus.services.scrub import EVERY_S, Scrub

    agent = Agent(ROLE, settings, own, key, up=links.up, inline=links.inline)
    folder, limits = settings.host.state / "store", settings.cache
    objects = WatchedStore(lambda: STORES[settings.store.driver](settings))
    store = BlockStore(objects, folder / "places", key, limits.quota_mib, limits.keep_free_mib)
    library = Library(folder, store)
    scrub = Scrub(store, settings.store.scrub_mib)
    office = Office(agent, objects, store, library, Imports(library, store, settings.imports), scrub)
    agent.services = office
    _plug(agent, Beat(agent))
    if links.inline:
        return House(agent)
    return House(agent, door.make(office), [Loop("scrub", scrub.step, EVERY_S)])


def sc(settings: Settings, own: Membership, key: Ed25519PrivateKey, links: Links) -> House:
    """A storage controller."""
    from sc import door
    from sc.beat import Beat
    from sc.role import ROLE
    from sc.services.office import Office

    agent = Agent(ROLE, settings, own, key, up=links.up, inline=links.inline)
    agent.services = Office(agent)
    _plug(agent, Beat(agent))
    return House(agent, None if links.inline else door.make(agent.services))


ROLES: dict[Role, Callable[[Settings, Membership, Ed25519PrivateKey, Links], House]] = {
    Role.CLC: clc, Role.CC: cc, Role.NC: nc, Role.WALRUS: walrus, Role.SC: sc,
}
