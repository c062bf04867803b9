"""A whole cloud in one process: memory wire, fake drivers, every message and every tick moved by hand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clc.services import hosts, own
from deploy.roles import ROLES, House, Links
from luhyaapi import clock, ids
from luhyaapi.conf import Settings
from luhyaapi.contracts.reports import JoinAsked
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Refused, Trouble, Unavailable
from luhyaapi.process import Loop
from luhyaapi.transfer.base import Cancelled, Source
from luhyaapi.transfer.download import PROTOCOLS
from luhyaapi.transfer.giver import CacheGiver, Giver, answer
from luhyaapi.wire import identity
from luhyaapi.wire.blobs import Drafts
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.link import DownLink
from luhyaapi.wire.memory import MemoryDownLink, MemoryUpLink, MemoryWire
from luhyadb import memory

_PASSES = 400


class Near:
    """near://<host>/...: bytes of another role of this process; counts what moved."""

    schemes = frozenset({"near"})
    moved_bytes = 0
    _lent: ClassVar[dict[str, Callable[[], Giver]]] = {}
    _taking: ClassVar[dict[str, Callable[[], Drafts]]] = {}

    @classmethod
    def lend(cls, name: str, giver: Callable[[], Giver]) -> None:
        """``near://name`` gives what that giver has."""
        cls._lent[name] = giver

    @classmethod
    def receive(cls, name: str, drafts: Callable[[], Drafts]) -> None:
        """``near://name`` takes drafts."""
        cls._taking[name] = drafts

    @classmethod
    def forget(cls, name: str) -> None:
        """Nobody of that name answers any more."""
        cls._lent.pop(name, None)
        cls._taking.pop(name, None)

    def get(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        """See :class:`luhyaapi.transfer.base.Transfer`."""
        at = urlsplit(source.url)
        if at.netloc not in self._lent:
            raise Unavailable("transfer", "The other side does not answer", at.netloc)
        *_, sha256, what = at.path.split("/")
        for piece in answer(self._lent[at.netloc](), sha256, what, dict(parse_qsl(at.query))):
            if stopped():
                raise Refused("cancelled", "The transfer was cancelled")
            Near.moved_bytes += len(piece)
            take(piece)


    def put(self, source: Source, body: bytes, stopped: Cancelled) -> bytes:
        """See :class:`luhyaapi.transfer.base.Transfer`."""
        at = urlsplit(source.url)
        if at.netloc not in self._taking:
            raise Unavailable("transfer", "The other side does not answer", at.netloc)
        if stopped():
            raise Refused("cancelled", "The transfer was cancelled")
        *_, draft, what = at.path.split("/")
        taker, asked = self._taking[at.netloc](), dict(parse_qsl(at.query))
        Near.moved_bytes += len(body)
        if what == "blocks":
            taker.take(draft, body)
            return b"{}"
        return json.dumps(taker.begin(draft, int(asked["size"]), asked["name"], body)).encode()


PROTOCOLS["near"] = Near()


class _Bell:
    """Stands where a role's own loop stands when it runs in threads: waking it is told by name."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def wake(self) -> None:
        """Something may be due."""
        self._ring()


@dataclass
class Playground:
    """``clc``, ``walrus``, ``cc``, ``sc`` and nodes ``nc1``, ``nc2``... by name in ``houses``; a role that is dead is not there.

    ``woken(name, what)`` is told that a role has to ``work``, ``publish`` or ``look``; ``over`` replaces settings by group.
    """

    folder: Path
    clc_state: Path
    nodes: int = 2
    cpus: int = 16
    memory_mib: int = 16384
    over: dict[str, dict[str, Any]] = field(default_factory=dict)
    woken: Callable[[str, str], None] | None = None
    wire: MemoryWire = field(default_factory=MemoryWire)
    houses: dict[str, House] = field(default_factory=dict)
    links: dict[str, DownLink] = field(default_factory=dict)
    known: dict[str, tuple[Membership, Ed25519PrivateKey]] = field(default_factory=dict)
    _settings_of: dict[str, Settings] = field(default_factory=dict)

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
        self.known["clc"] = me.membership, me.key
        for name in ("walrus", "cc", "sc", *(f"nc{n + 1}" for n in range(self.nodes))):
            folder = self.folder / name / "identity"
            membership = Membership.load(folder)
            if membership is None:
                raise Refused("state", f"{name} has never joined")
            self.known[name] = membership, identity.own_key(folder)
        self.open_known()
        self.settle()
        return self

    def open_known(self) -> None:
        """Every role that has joined begins, bosses first."""
        names = {membership.host: name for name, (membership, _) in self.known.items()}
        for name, (membership, key) in list(self.known.items()):
            if membership.boss:
                self.links[names[membership.boss]].admit(membership.host)
            self._open(name, membership, key)

    def _settings(self, name: str) -> Settings:
        if name not in self._settings_of:
            self._settings_of[name] = self._make_settings(name)
        return self._settings_of[name]

    def _make_settings(self, name: str) -> Settings:
        role = name.rstrip("0123456789")
        state = self.clc_state if name == "clc" else self.folder / name
        state.mkdir(parents=True, exist_ok=True)
        over: dict[str, Any] = {
            "host": {"role": role, "name": name, "state": state, "address": f"near://{name}"},
            "board": {"port": 0}, "hypervisor": {"driver": "fake", "cpus": self.cpus, "memory_mib": self.memory_mib},
            "network": {"driver": "fake", "node_driver": "fake", "cooldown_s": 60},
        }
        for group, values in self.over.items():
            over[group] = over.get(group, {}) | values
        return Settings(**over)

    def _open(self, name: str, membership: Membership, key: Ed25519PrivateKey) -> House:
        settings = self._settings(name)
        role, me = settings.host.role, membership.host
        up = MemoryUpLink(self.wire, me) if membership.boss else None
        down = self.links.setdefault(name, MemoryDownLink(self.wire, me)) if role in (Role.CLC, Role.CC) else None
        house = ROLES[Role(role)](settings, membership, key, Links(up, down, inline=True))
        self.houses[name], self.known[name] = house, (membership, key)
        self._shorten(name, house)
        self._ring(name, house)
        for extra in house.extras:
            extra.start()
        if down is not None:
            down.start(house.agent.relay.take_many)
        if up is not None:
            up.start(house.agent.worker.accept, house.agent._greet)  # noqa: SLF001 - the agent's own loops do this elsewhere
        else:
            house.agent._greet()  # noqa: SLF001
        return house

    def _ring(self, name: str, house: House) -> None:
        if (woken := self.woken) is not None:
            house.agent._working = cast("Loop", _Bell(lambda: woken(name, "work")))  # noqa: SLF001
            house.agent._publishing = cast("Loop", _Bell(lambda: woken(name, "publish")))  # noqa: SLF001
            for extra in house.extras:
                changed = extra.beat._changed.put  # noqa: SLF001

                def look(instance: str, changed: Callable[[str], None] = changed) -> None:
                    changed(instance)
                    woken(name, "look")

                extra.beat._hypervisor.watch(look)  # noqa: SLF001

    def _shorten(self, name: str, house: House) -> None:
        """Bytes go from cache to cache by name instead of by port."""
        services: Any = house.agent.services
        if name.startswith(("cc", "nc")):
            Near.lend(name, lambda: CacheGiver(services.cache))
        if name == "cc":
            from cc.services.ascent import Ascent

            Near.receive(name, lambda: Ascent(services))
        if name == "walrus":
            Near.lend(name, lambda: services.store)
            Near.receive(name, lambda: services.library.drafts)

    def _join(self, name: str, boss: House) -> None:
        with memory.of("clc"), memory.atomic():
            token, _ = hosts.make_token(None, Role(name.rstrip("0123456789")))
        request = self.knock(name, boss, token)
        self.settle()
        if not self.let_in(name, boss, request):
            raise Refused("forbidden", f"{name} was not let in")

    def knock(self, name: str, boss: House, token: str, request: str = "") -> str:
        """A new host asks at its boss's door to be let in, again under the same name; the name of its request."""
        from cc.services import children

        key = identity.own_key(self.folder / name / "identity")
        role, request = Role(name.rstrip("0123456789")), request or f"r{ids.secret()}"
        form = {"request": request, "role": role, "name": name, "csr": identity.request(key, name), "token": token}
        if boss is self.houses["clc"]:
            report = JoinAsked(request=request, role=role, name=name, csr=form["csr"], proof=hosts.proof_of(token))
            with memory.of("clc"), memory.atomic():
                hosts.join_asked(report, boss.agent.me)
        else:
            with memory.of("cc"):
                children.ask(boss.agent.services, form, "near")
        return request

    def let_in(self, name: str, boss: House, request: str) -> bool:
        """Whether the answer is there; then the host works. Raises Refused(forbidden | not_found)."""
        from cc.services import children

        if boss is self.houses["clc"]:
            with memory.of("clc"), memory.atomic():
                form = hosts.membership(request, self.links["clc"])
        else:
            with memory.of("cc"):
                form = children.answer(boss.agent.services, request)
        if form is None:
            return False
        folder = self.folder / name / "identity"
        granted = Membership(**form)
        granted.save(folder)
        self._open(name, granted, identity.own_key(folder))
        return True

    def stop(self, name: str) -> None:
        """As ``kill -9``: the process is gone, what it had on disk is there."""
        house = self.houses.pop(name)
        for link in (house.agent.up, house.agent.down):
            if link is not None:
                link.stop()
        house.agent.journal.close()
        if house.agent.shape.name is Role.WALRUS:
            house.agent.services.store.close()  # else this process maps a file that a power cut makes shorter
        Near.forget(name)

    def restart(self, name: str) -> House:
        """Killed, if it runs, and started again."""
        if name in self.houses:
            self.stop(name)
        return self._open(name, *self.known[name])

    # ---- time

    def act(self, name: str, what: str) -> int:
        """One thing a role does: ``look``, ``work``, ``post``, ``publish``, ``prove``, ``beat`` or ``reconcile``; how much that was.

        Trouble is passed over, as in a loop that tries again.
        """
        house = self.houses[name]
        agent: Any = house.agent
        moved: object = 0
        with agent.memory(), contextlib.suppress(Trouble):
            if what in ("look", "prove"):
                for extra in house.extras:
                    getattr(extra.beat, what)()
            elif what == "work":
                moved = agent.worker.step()
            elif what == "post":
                moved = agent.post_orders() if hasattr(agent, "post_orders") and agent.down.is_connected() else 0
            else:
                moved = getattr(agent, what)()
        return moved if isinstance(moved, int) else 0

    def step(self) -> int:
        """Everything that can happen now happens once; how much that was."""
        moved = self.wire.pump()
        for name in list(self.houses):
            for what in ("look", "work", "post", "publish"):
                moved += self.act(name, what)
        return moved

    def settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(_PASSES):
            if not self.step():
                return
        raise Refused("busy", "The playground does not come to rest")

    def beat(self) -> None:
        """One heartbeat and one reconciliation of every role, then rest; trouble in one of them is tried again, as in a loop."""
        for name in list(self.houses):
            for what in ("prove", "beat", "reconcile"):
                self.act(name, what)
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
