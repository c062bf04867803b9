"""What goes wrong: each fault by name, begun by a planned item, ended after its time or when everything is healed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import connections

from tests.simulator import lies
from tests.simulator.plan import Item

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

POINTS = ("journal: before write", "journal: before commit", "journal: after commit", "database: before write",
          "database: before commit", "database: after commit", "file: before rename", "file: after rename", "blob: before rename",
          "blob: after rename", "report: before post", "report: confirmed", "order: before post", "order: confirmed", "statement", "statement", "")
AT_BYTES = ("pack: before put", "pack: after put", "manifest: before put", "manifest: after put", "object: before rename", "object: after rename",
            "draft: begun", "draft: before write", "draft: written", "collect: before delete", "blob: before rename", "blob: after rename",
            "push: before begin", "push: before send")
_CHANCE = {"drop": 0.25, "double": 0.4, "reorder": 0.4, "delay": 0.5}
_VERBS = ("define", "start", "stop", "remove", "inspect", "list", "plug", "unplug", "probe")
_CHANGING = ("define", "start", "stop", "remove", "plug", "unplug")


class Faults:
    """``do`` begins one; what has an end is in ``_open``."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._open: dict[int, Callable[[], None]] = {}
        self._n = 0
        self.counts: Counter[str] = Counter()

    def do(self, item: Item) -> None:
        """Begin a planned fault."""
        sim = self._sim
        what, end = getattr(self, f"_{item.name}")(item)
        if what is None:
            return
        self.counts[item.name] += 1
        sim.tell("fault", item.name, about=what, lasts_s=item.lasts_s if end else 0)
        if end:
            self._n += 1
            self._open[self._n] = lambda: (sim.tell("fault", f"{item.name} ends", about=what), end())[0]
            sim.after(item.lasts_s, lambda n=self._n: self._end(n))

    def _end(self, n: int) -> None:
        if n in self._open:
            self._open.pop(n)()

    def end_all(self) -> None:
        """Everything is as it should be."""
        for n in sorted(self._open):
            self._end(n)
        sim = self._sim
        sim.clock.offset.clear()
        sim.stubborn.clear()
        sim.full.clear()
        sim.slow.clear()
        sim.weather.clear()
        sim.way.troubles.clear()
        for each in sim.hands.values():
            each.always.clear()
            each.latency_s.clear()
            each._once.clear()
        if sim.p.wire.away or sim.p.wire.cuts or sim.p.wire.down:
            sim.p.wire.heal()
        if "cc" in sim.p.houses:
            sim.p.houses["cc"].agent.services.edge.trouble = None

    # ---- whom it meets

    def _role(self, dice: float, *only: str) -> str | None:
        names = [n for n in self._sim.p.houses if (not only or n in only or n.rstrip("0123456789") in only)]
        return names[int(dice * len(names))] if names else None

    def _child(self, dice: float) -> str | None:
        return self._role(dice, "walrus", "cc", "nc", "sc")

    def _me(self, name: str) -> str:
        return self._sim.p.known[name][0].host

    # ---- messages

    def weather(self, direction: str, host: str, message: bytes) -> list[bytes]:
        """What becomes of one message."""
        sim = self._sim
        if not sim.weather:
            return [message]
        from tests.simulator.simulation import about

        for name in list(sim.weather):
            storm = sim.weather[name]
            if (storm["host"] and storm["host"] != host) or sim.rng.random() >= _CHANCE[name]:
                continue
            sim.tell("fault", f"message {name}", direction=direction, host=host, **about(message))
            self.counts[f"message {name}"] += 1
            if name == "drop":
                return []
            if name == "double":
                if (late_s := sim.rng.choice((0.0, 0.0, 1.0, 8.0, 20.0))) == 0:
                    return [message, message]
                sim.after(late_s, lambda: sim.p.wire.inject(direction, host, message))
                return [message]
            late_s = sim.rng.choice((0.2, 2.0)) if name == "reorder" else sim.rng.choice((1.0, 10.0, 40.0, 90.0))
            sim.after(late_s, lambda: sim.p.wire.inject(direction, host, message))
            return []
        return [message]

    def _storm(self, item: Item) -> Any:
        sim = self._sim
        child = self._child(item.dice[0]) if item.dice[1] < 0.7 else None
        sim.weather[item.name] = {"host": self._me(child) if child else ""}
        return child or "everybody", lambda: sim.weather.pop(item.name, None)

    _drop = _double = _reorder = _delay = _storm

    def _cut(self, item: Item) -> Any:
        return self._cut_off(item, ("down", "up"))

    def _cut_one_way(self, item: Item) -> Any:
        return self._cut_off(item, ("down",) if item.dice[1] < 0.5 else ("up",))

    def _cut_off(self, item: Item, directions: tuple[str, ...]) -> Any:
        wire, child = self._sim.p.wire, self._child(item.dice[0])
        if child is None:
            return None, None
        host = self._me(child)
        wire.cut_link(host, directions)
        return f"{child} {'+'.join(directions)}", lambda: wire.mend_link(host)

    def _broker_away(self, item: Item) -> Any:
        wire, boss = self._sim.p.wire, self._me("clc" if item.dice[0] < 0.5 else "cc")
        wire.leave(boss)
        return boss, lambda: wire.come_back(boss)

    def _broker_lost(self, item: Item) -> Any:
        boss = "clc" if item.dice[0] < 0.5 else "cc"
        return f"{boss}: {self._sim.p.wire.lose(self._me(boss))} messages", None

    # ---- deaths

    def _crash(self, item: Item) -> Any:
        name = self._role(item.dice[0])
        if name is None:
            return None, None
        self._sim.kill(name, "killed", back_s=item.lasts_s / 2)
        return name, None

    def _crash_at(self, item: Item) -> Any:
        name = self._role(item.dice[0], "clc", "cc", "nc", "walrus") if item.dice[3] < 0.8 else "web"
        if name is None:
            return None, None
        point = POINTS[int(item.dice[1] * len(POINTS))]
        self._sim.fuses[name] = point, int(item.dice[2] * 8)
        return f"{name} at {point or 'any point'}", None

    def _crash_bytes(self, item: Item) -> Any:
        """It dies on the way of an image: in the store, in a cache, or while it sends."""
        point = AT_BYTES[int(item.dice[1] * len(AT_BYTES))]
        at = ("nc",) if point.startswith("push") else ("cc", "nc") if point.startswith("blob") else ("walrus",)
        name = self._role(item.dice[0], *at)
        if name is None:
            return None, None
        self._sim.fuses[name] = point, int(item.dice[2] * 3)
        return f"{name} at {point}", None

    def _die(self, item: Item) -> Any:
        """That role dies at that point, the so many-th time it passes it."""
        name, point, n = item.about.split("/")
        self._sim.fuses[name] = point, int(n)
        return item.about, None

    def _bytes_cut(self, item: Item) -> Any:
        """Every request for bytes is cut off after so many of them."""
        return self._bytes(item, "cut", int(item.dice[1] ** 3 * 300_000))

    def _bytes_flip(self, item: Item) -> Any:
        """A bit of what comes is another one, now and then."""
        return self._bytes(item, "flip", 0)

    def _bytes(self, item: Item, what: str, after: int) -> Any:
        way = self._sim.way
        way.troubles[what] = after, self._sim.clock.world + item.lasts_s
        return f"{what} after {after}" if what == "cut" else what, lambda: way.troubles.pop(what, None)

    def _crash_committed(self, item: Item) -> Any:
        """It dies when its database has committed, before what was to follow that."""
        name = self._role(item.dice[0], *(("cc",) if item.dice[1] < 0.6 else ("clc",)))
        if name is None:
            return None, None
        self._sim.fuses[name] = "database: after commit", int(item.dice[2] * 40)
        return f"{name} after a commit", None

    def _outage(self, item: Item) -> Any:
        """The whole site loses power: every role, every guest, and what was not synced."""
        sim = self._sim
        lost = []
        for name in list(sim.p.known):
            if name in sim.p.houses:
                sim.kill(name, "power outage", back_s=None)
            if name in sim.retired:
                continue
            lost += [f"{name}/{f}" for f in sim.disks.cut_power(sim.p.folder / name)]
            self._guests_off(name)
            sim.after(5 + item.dice[0] * 10, ("start", name))
        return {"lost": lost}, None

    def _host_power(self, item: Item) -> Any:
        """One machine loses power."""
        sim, name = self._sim, self._role(item.dice[0], "nc")
        if name is None:
            return None, None
        sim.kill(name, "its host lost power", back_s=item.lasts_s)
        lost = sim.disks.cut_power(sim.p.folder / name)
        self._guests_off(name)
        return {"host": name, "lost": lost}, None

    def _guests_off(self, name: str) -> None:
        if name.startswith("nc"):
            hypervisor = self._hypervisor(name)
            for facts in hypervisor._calm_list():
                hypervisor.end(facts.instance)

    # ---- disks and clocks

    def _older_copy(self, _item: Item) -> Any:
        """The cluster's database and journal are later those of now, as after a restored backup."""
        sim, journal = self._sim, self._sim.p.folder / "cc" / "journal.sqlite"
        copy, journals = connections["cc"].connection.serialize(), sim.disks.journals()["cc"]

        def restore() -> None:
            sim.kill("cc", "its disk is restored from before", back_s=2.0)
            connections["cc"].connection.deserialize(copy)
            sim.disks.give_journal(journal, journals)

        return "cc", restore

    def _slow_disk(self, item: Item) -> Any:
        sim, name = self._sim, self._role(item.dice[0])
        if name is None:
            return None, None
        sim.slow[name] = 0.3 + 2 * item.dice[1]
        return name, lambda: sim.slow.pop(name, None)

    def _full_disk(self, item: Item) -> Any:
        sim, name = self._sim, self._role(item.dice[0])
        if name is None:
            return None, None
        sim.full.add(name)
        return name, lambda: sim.full.discard(name)

    def _clock_forward(self, item: Item) -> Any:
        return self._jump(item, 1)

    def _clock_backward(self, item: Item) -> Any:
        return self._jump(item, -1)

    def _jump(self, item: Item, sign: int) -> Any:
        sim, name = self._sim, self._role(item.dice[0])
        if name is None:
            return None, None
        by_s = sign * (20.0, 100.0, 250.0, 3600.0)[int(item.dice[1] * 4)]
        sim.clock.offset[name] = by_s
        return f"{name} by {by_s:.0f} s", lambda: sim.clock.offset.pop(name, None)

    # ---- hypervisors, guests and what else there is

    def _hypervisor(self, name: str) -> Any:
        """Of a node that may be dead: the hypervisor lives on."""
        sim = self._sim
        if name in sim.p.houses:
            return sim.p.hypervisor(name)
        from nc.drivers.fake import FakeHypervisor

        found = FakeHypervisor(sim.p.folder / name / "fake")
        found.effect = lambda what, instance, domain: sim._effect(name, what, instance, domain)
        return found

    def _trouble(self, item: Item, verbs: tuple[str, ...], code: str) -> Any:
        sim, name = self._sim, self._role(item.dice[0], "nc")
        if name is None:
            return None, None
        always = sim.hands[name].always
        always |= dict.fromkeys(verbs, code)
        return name, lambda: [always.pop(v, None) for v in verbs]

    def _hypervisor_away(self, item: Item) -> Any:
        return self._trouble(item, _VERBS, "hypervisor_down")

    def _hypervisor_refuses(self, item: Item) -> Any:
        return self._trouble(item, (_CHANGING[int(item.dice[1] * len(_CHANGING))],), "hypervisor")

    def _hypervisor_slow(self, item: Item) -> Any:
        sim, name = self._sim, self._role(item.dice[0], "nc")
        if name is None:
            return None, None
        latency = sim.hands[name].latency_s
        latency |= dict.fromkeys(_VERBS, 0.5 + 4 * item.dice[1])
        return name, latency.clear

    def _guest(self, item: Item, how: str) -> Any:
        sim = self._sim
        found = [(n, f.instance) for n in sorted(sim.p.known) if n.startswith("nc") and (sim.p.folder / n / "fake").is_dir()
                 for f in self._hypervisor(n)._calm_list()]
        if not found:
            return None, None
        name, instance = found[int(item.dice[0] * len(found))]
        getattr(self._hypervisor(name), how)(instance)
        return f"{instance} on {name}", None

    def _guest_dies(self, item: Item) -> Any:
        return self._guest(item, "kill")

    def _guest_ends(self, item: Item) -> Any:
        return self._guest(item, "end")

    def _guest_started(self, item: Item) -> Any:
        return self._guest(item, "wake")

    def _stubborn(self, item: Item) -> Any:
        sim = self._sim
        sim.stubborn.update(sim.clients.instances)
        return "all guests", sim.stubborn.clear

    def _board_emptied(self, _item: Item) -> Any:
        if "clc" in self._sim.p.houses:
            self._sim.p.houses["clc"].agent.services.board.clear()
        return "board", None

    def _lie(self, item: Item) -> Any:
        """A host speaks of what is not its own, well signed; whom it tells that must know better."""
        sim, name = self._sim, self._role(item.dice[0], "nc", "sc", "walrus")
        if name is None:
            return None, None
        found = lies.of(name, self._me(name), item.dice[1])
        if found is None:
            return None, None
        sim.clock.actor = name
        message = sim.p.houses[name].agent.seal_report(found)
        sim.clock.actor = ""
        sim.p.wire.inject("up", self._me(name), message)
        from tests.simulator.simulation import about

        return {"host": name, **about(message)}, None

    def _edge_refuses(self, item: Item) -> Any:
        from luhyaapi.errors import Failed

        sim = self._sim
        if "cc" not in sim.p.houses:
            return None, None
        edge = sim.p.houses["cc"].agent.services.edge
        edge.trouble = Failed("network", "The bridge said no", "a fault was asked for")

        def end() -> None:
            edge.trouble = None

        return "cc", end
