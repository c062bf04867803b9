"""A whole cloud in one process: memory wire, fake drivers, every message and every tick moved by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clc.services import hosts, own
from deploy.roles import ROLES, House, Links
from luhyaapi import clock, ids
from luhyaapi.conf import Settings
from luhyaapi.contracts.reports import JoinAsked
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Refused, Trouble
from luhyaapi.transfer.base import Ability, Cancelled, Source, Span
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.download import PROTOCOLS
from luhyaapi.transfer.local import Local
from luhyaapi.wire import identity
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.link import DownLink
from luhyaapi.wire.memory import MemoryDownLink, MemoryUpLink, MemoryWire
from luhyadb import memory

_NEAR: dict[str, Callable[[], BlobCache]] = {}
_PASSES = 400


class Near:
    """near://<host>/...: bytes of another role of this process; counts what moved."""

    schemes = frozenset({"near"})
    can = frozenset({Ability.GET, Ability.RESUME})
    moved_bytes = 0

    def get(
        self, source: Source, start: int, begin: Callable[[Span], None], take: Callable[[bytes], None], stopped: Cancelled,
    ) -> None:
        """See :class:`luhyaapi.transfer.base.Transfer`."""
        at = urlsplit(source.url)
        path = _NEAR[at.netloc]().path(at.path.rsplit("/", 1)[-1])
        if path is None:
            raise Refused("not_found", "The other side does not give these bytes")

        def counted(data: bytes) -> None:
            Near.moved_bytes += len(data)
            take(data)

        Local().get(Source(path.as_uri()), start, begin, counted, stopped)


PROTOCOLS["near"] = Near()


@dataclass
class Playground:
    """``clc``, ``walrus``, ``cc``, ``sc`` and nodes ``nc1``, ``nc2``... by name in ``houses``."""

    folder: Path
    clc_state: Path
    nodes: int = 2
    cpus: int = 16
    memory_mib: int = 16384
    wire: MemoryWire = field(default_factory=MemoryWire)
    houses: dict[str, House] = field(default_factory=dict)
    links: dict[str, DownLink] = field(default_factory=dict)

    def start(self) -> Playground:
        """All roles joined and told hello."""
        me = own.own()
        self._open("clc", me.membership, me.key)
        for name in ("walrus", "cc"):
            self._join(name, self.houses["clc"])
        self.settle()
        for name in ("sc", *(f"nc{n + 1}" for n in range(self.nodes))):
            self._join(name, self.houses["cc"])
        self.settle()
        self.beat()
        return self

    def resume(self) -> Playground:
        """As after a power failure of everything, the broker too: what was on the disks is there."""
        me = own.own()
        self._open("clc", me.membership, me.key)
        names = {Membership.load(f.parent).host: f.parent.parent.name for f in self.folder.glob("*/identity/certificate.pem")}  # type: ignore[union-attr]
        for name in ("walrus", "cc", "sc", *(f"nc{n + 1}" for n in range(self.nodes))):
            folder = self.folder / name / "identity"
            membership = Membership.load(folder)
            if membership is None:
                raise Refused("state", f"{name} has never joined")
            self.links[names.get(membership.boss, "clc")].admit(membership.host)
            self._open(name, membership, identity.own_key(folder))
        self.settle()
        return self

    def _settings(self, name: str) -> Settings:
        role = name.rstrip("0123456789")
        state = self.clc_state if name == "clc" else self.folder / name
        state.mkdir(parents=True, exist_ok=True)
        over: dict[str, Any] = {
            "host": {"role": role, "name": name, "state": state, "address": f"near://{name}"},
            "board": {"port": 0}, "hypervisor": {"driver": "fake", "cpus": self.cpus, "memory_mib": self.memory_mib},
            "network": {"driver": "fake", "node_driver": "fake", "cooldown_s": 60},
        }
        return Settings(**over)

    def _open(self, name: str, membership: Membership, key: Ed25519PrivateKey) -> House:
        settings = self._settings(name)
        role, me = settings.host.role, membership.host
        up = MemoryUpLink(self.wire, me) if membership.boss else None
        down = self.links.setdefault(name, MemoryDownLink(self.wire, me)) if role in (Role.CLC, Role.CC) else None
        house = ROLES[Role(role)](settings, membership, key, Links(up, down, inline=True))
        self.houses[name] = house
        self._shorten(name, house)
        for extra in house.extras:
            extra.start()
        if down is not None:
            down.start(house.agent.relay.take)
        if up is not None:
            up.start(house.agent.worker.accept, house.agent._greet)  # noqa: SLF001 - the agent's own loops do this elsewhere
        else:
            house.agent._greet()  # noqa: SLF001
        return house

    def _shorten(self, name: str, house: House) -> None:
        """Bytes go from cache to cache by name instead of by port."""
        services: Any = house.agent.services
        if name == "cc":
            _NEAR[name] = lambda: services.cache
        if name == "walrus":
            _NEAR[name] = lambda: services.store

    def _join(self, name: str, boss: House) -> None:
        folder = self.folder / name / "identity"
        key = identity.own_key(folder)
        role = Role(name.rstrip("0123456789"))
        with memory.of("clc"), memory.atomic():
            token, _ = hosts.make_token(None, role)
        request = f"r{ids.secret()}"
        report = JoinAsked(request=request, role=role, name=name, csr=identity.request(key, name), proof=hosts.proof_of(token))
        if boss is self.houses["clc"]:
            with memory.of("clc"), memory.atomic():
                hosts.join_asked(report, boss.agent.me)
                form = hosts.membership(request, self.links["clc"])
        else:
            from cc.services import children

            with memory.of("cc"):
                children.ask(boss.agent.services, {
                    "request": request, "role": role, "name": name, "csr": report.csr, "token": token,
                }, "near")
            self.settle()
            with memory.of("cc"):
                form = children.answer(boss.agent.services, request)
        if form is None:
            raise Refused("forbidden", f"{name} was not let in")
        granted = Membership(**form)
        granted.save(folder)
        self._open(name, granted, key)

    def restart(self, name: str) -> House:
        """As after ``kill -9``: the process is gone, what it had on disk is there."""
        old = self.houses[name]
        if old.agent.up is not None:
            old.agent.up.stop()
        return self._open(name, old.agent.membership, old.agent.key)

    # ---- time

    def step(self) -> int:
        """Everything that can happen now happens once; how much that was."""
        moved = self.wire.pump()
        for house in list(self.houses.values()):
            agent = house.agent
            with agent.memory():
                for extra in house.extras:
                    extra.beat.look()
                moved += agent.worker.step()
                if hasattr(agent, "post_orders") and not self.wire.down:
                    moved += agent.post_orders()
                moved += agent.publish()
        return moved

    def settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(_PASSES):
            if not self.step():
                return
        raise Refused("busy", "The playground does not come to rest")

    def beat(self) -> None:
        """One heartbeat and one reconciliation of every role, then rest; trouble in one of them is tried again, as in a loop."""
        for house in list(self.houses.values()):
            with house.agent.memory():
                for work in (*(extra.beat.prove for extra in house.extras), house.agent.beat, house.agent.reconcile):
                    with contextlib.suppress(Trouble):
                        work()
        self.settle()

    def pass_time(self, seconds: float) -> None:
        """Let that much time go by, heartbeat by heartbeat."""
        until = clock.now() + seconds
        while (left := until - clock.now()) > 0:
            clock.sleep(min(left, self.houses["clc"].agent.settings.beat.every_s))
            self.beat()

    @property
    def hypervisor(self) -> Callable[[str], Any]:
        """The fake hypervisor of a node, by name."""
        return lambda name: self.houses[name].agent.services.domains._hands.hypervisor  # noqa: SLF001
