"""One seed: the real roles under a scheduler that decides who acts next, what is delivered next, and who dies where."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import suppress
from typing import Any

import structlog
from django.db import OperationalError, connections

from clc.services import own
from deploy.playground import Playground
from luhyaapi import ids, points
from luhyaapi.errors import Trouble, of
from luhyadb import memory, outbox
from nc.drivers.fake import Faults
from tests.simulator import clients, faults, snapshot, storekeeper, way
from tests.simulator.clockwork import SimClock
from tests.simulator.disk import Disks
from tests.simulator.history import History
from tests.simulator.plan import Item, Plan
from tests.support.flow_world import Crash

EVERY = {"beat": 16.0, "reconcile": 20.0, "prove": 20.0}
REST_S, LONGEST_REST_S, LONGEST_AFTER_LOSS_S = 24.0, 330.0, 1300.0
"""What was confirmed and got lost by a broker is told again only every ten minutes; nothing else takes so long."""
MOVES_AT_MOST = 60_000
_RETRY_S = {"work": 1.0, "publish": 3.0, "post": 2.0, "redeliver": 2.0}
_running: list[Simulation] = []
outbox.on_new(lambda: _running[-1].ring(memory.current(), "post") if _running else None)


class StuckError(Exception):
    """It does not come to rest."""


class Simulation:
    """``p`` is the cloud; ``todo`` what each role has to do at once, ``timers`` what it does later."""

    def __init__(self, plan: Plan, p: Playground, disks: Disks, now: SimClock) -> None:
        self.plan, self.p, self.disks, self.clock = plan, p, disks, now
        self.rng = random.Random(f"schedule {plan.seed}")
        self.history = History()
        self.todo: dict[str, dict[str, None]] = {}
        self.timers: dict[str, dict[str, float]] = {}
        self.later: list[tuple[float, int, Any]] = []
        self.hands: dict[str, Faults] = {}
        self.stubborn: set[str] = set()
        self.fuses: dict[str, tuple[str, int]] = {}
        self.dying: set[str] = set()
        self.full: set[str] = set()
        self.slow: dict[str, float] = {}
        self.weather: dict[str, dict[str, Any]] = {}
        self.retired: set[str] = set()
        self.way = way.Way(self)
        self.clients = clients.Clients(self)
        self.faults = faults.Faults(self)
        self.moves_made = 0
        self._number = 0
        self._tasks: dict[str, str] = {}
        self._changes = -1
        self._eye = storekeeper.Eye(self)

    # ---- life

    def run(self) -> History:
        """The whole seed: what was planned, then healing, rest and the last picture."""
        _running.append(self)
        before = points.use(self._at_point)
        self.p.woken = self.ring
        self.p.wire.fault = self._pass
        try:
            with (
                self.way.open(), connections["default"].execute_wrapper(self._at_statement),
                connections["cc"].execute_wrapper(self._at_statement),
            ):
                self._live()
        except StuckError as e:
            self.tell("simulator", "stuck", why=str(e))
        finally:
            self.clock.actor = ""
            points.use(before)
            _running.pop()
        return self.history

    def _live(self) -> None:
        self._begin()
        self._until(lambda: not any(isinstance(what, Item) for _, _, what in self.later))
        # whoever shall die at a point has the time to come there
        end = self.clock.world + (40.0 if self.plan.kinds == ("die",) else self.rng.choice((2.0, 10.0, 40.0)))
        self._until(lambda: self.clock.world >= end)
        self.heal()
        self._rest()

    def _begin(self) -> None:
        self.tell("simulator", "began", seed=self.plan.seed, faults=list(self.plan.kinds), actions=list(self.plan.actions),
                  hosts={m.host: name for name, (m, _) in self.p.known.items()})
        self._tasks.update((task, state) for task, state, _ in self._task_rows())
        for name, (membership, _) in list(self.p.known.items()):
            if membership.boss:
                boss = next(n for n, (m, _) in self.p.known.items() if m.host == membership.boss)
                self.p.links[boss].admit(membership.host)
            self.start(name)
        for item in self.plan.items:
            self.after(item.at, item)

    def start(self, name: str) -> None:
        """A role begins, or begins again."""
        self.todo[name] = {}
        self.timers[name] = {}
        self._as(name, lambda: self.p._open(name, *self.p.known[name]))
        if name in self.p.houses:
            self.began(name)

    def began(self, name: str) -> None:
        """A role runs: its loops tick, its hands suffer what they suffered before, and what they do is told."""
        self.tell(name, "started")
        self.todo.setdefault(name, {})
        self.todo[name] |= dict.fromkeys(("work", "publish") + (("post",) if name in ("clc", "cc") else ()))
        timers = self.timers.setdefault(name, {})
        for what, every_s in EVERY.items():
            if what != "prove" or name.startswith("nc"):
                timers[what] = self.clock.world + self.rng.random() * every_s
        if name.startswith("nc"):
            hands = self.p.houses[name].agent.services.domains._hands
            hands.hypervisor.faults = hands.network.faults = self.hands.setdefault(name, Faults())
            hands.hypervisor.stubborn = self.stubborn
            hands.hypervisor.effect = lambda what, instance, domain: self._effect(name, what, instance, domain)

    def kill(self, name: str, why: str, *, back_s: float | None) -> None:
        """A role is gone; it comes back after ``back_s`` seconds, None: not by itself."""
        if name not in self.p.houses:
            return
        self.tell(name, "died", why=why)
        self.dying.discard(name)
        self.fuses.pop(name, None)
        self.clock.ahead.pop(name, None)
        self.p.stop(name)
        if name == "walrus":
            self._eye.look()
        self.todo.pop(name, None)
        self.timers.pop(name, None)
        if back_s is not None:
            self.after(back_s, ("start", name))

    def heal(self) -> None:
        """Every fault ends; whoever is dead comes back."""
        self.tell("simulator", "healed")
        self.faults.end_all()
        self.fuses.clear()
        self.later = [e for e in self.later if not (isinstance(e[2], tuple) and e[2][0] == "start")]
        for name in self.p.known:
            if name not in self.p.houses and name not in self.retired:
                self.start(name)

    # ---- what the roles call

    def ring(self, name: str, what: str) -> None:
        """A role has something to do."""
        if name in self.todo:
            self.todo[name][what] = None

    def _effect(self, node: str, what: str, instance: str, domain: dict[str, Any]) -> None:
        spec = domain.get("spec", {})
        self.tell(
            node, "effect", effect=what, instance=instance, order=structlog.contextvars.get_contextvars().get("cmd", ""),
            nics=[[n["mac"], n["ip"]] for n in spec.get("nics", ())], port=spec.get("display_port", 0),
        )

    def _at_point(self, point: str) -> None:
        actor = self.clock.actor
        if actor in self.dying:
            raise Crash(point)
        fuse = self.fuses.get(actor)
        if fuse and point.startswith(fuse[0]):
            if fuse[1] <= 0:
                del self.fuses[actor]
                self.dying.add(actor)
                self.tell(actor, "dies", at=point)
                raise Crash(point)
            self.fuses[actor] = fuse[0], fuse[1] - 1
        if not point.endswith(("before write", "before rename")):
            return
        if actor in self.slow:
            self.clock.sleep(self.slow[actor])
        if actor in self.full:
            if point.startswith("journal"):
                raise sqlite3.OperationalError("database or disk is full")
            if point.startswith("database"):
                raise OperationalError("database or disk is full")
            raise OSError(28, "No space left on device")

    def _at_statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """Whoever writes into a database may die before each statement."""
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            self._at_point("statement")
        return execute(sql, params, many, context)

    def _pass(self, direction: str, host: str, message: bytes) -> list[bytes]:
        return self.faults.weather(direction, host, message)

    # ---- time

    def tell(self, who: str, what: str, **fields: Any) -> None:
        """Into the history."""
        self.history.now = self.clock.world - self.clock.start
        self.history.tell(who, what, **fields)

    def tell_tasks(self) -> None:
        """Which tasks of the CLC changed their state just now."""
        raw = connections["default"].connection
        if raw.total_changes == self._changes:
            return
        self._changes = raw.total_changes
        for task, state, receiver in self._task_rows():
            if self._tasks.get(task) != state:
                self._tasks[task] = state
                self.tell("clc", "task", task=task, state=state, receiver=receiver)
        self._eye.look()

    @staticmethod
    def _task_rows() -> list[tuple[str, str, str]]:
        raw = connections["default"].connection
        found: list[tuple[str, str, str]] = raw.execute("select id, state, receiver from luhyadb_task order by rowid").fetchall()
        return found

    def after(self, seconds: float, what: Any) -> None:
        """Have something happen then."""
        self._number += 1
        self.later.append((self.clock.world + seconds, self._number, what))

    def _until(self, done: Any, longest_s: float = 4000.0) -> None:
        end = self.clock.world + longest_s
        while not done():
            moves = self._moves()
            if moves:
                self._make(moves[self.rng.randrange(len(moves))] if len(moves) > 1 else moves[0])
                continue
            following = self._following()
            if following > end:
                self.clock.world = end
                return
            self.clock.world = following

    def _moves(self) -> list[tuple[str, Any]]:
        now, clock = self.clock.world, self.clock
        found: list[tuple[str, Any]] = []
        free = [n for n in self.p.houses if not clock.busy(n)]
        for name in free:
            found += [(name, what) for what in self.todo[name]]
            found += [(name, what) for what, at in self.timers[name].items() if at <= now]
        if ready := self.p.wire.ready():
            names = {h.agent.me: n for n, h in self.p.houses.items()}
            found += [
                ("wire", q) for q in ready
                if (n := names.get(q[1])) is not None and not clock.busy(n) and self.timers[n].get(f"redeliver {q[0]}", 0.0) <= now
            ]
        found += [("later", entry) for entry in self.later if entry[0] <= now]
        return found

    def _following(self) -> float:
        now = self.clock.world
        moments = [at for at, _, _ in self.later]
        for name in self.p.houses:
            ahead = self.clock.ahead.get(name, 0.0)
            moments += [max(at, ahead) for at in self.timers[name].values()]
            if ahead > now:
                moments.append(ahead)
        return min((m for m in moments if m > now), default=now + 1)

    def _make(self, move: tuple[str, Any]) -> None:
        self.moves_made += 1
        if self.moves_made > MOVES_AT_MOST:
            raise StuckError(f"{MOVES_AT_MOST} moves, and something still moves: {move}")
        name, what = move
        if name == "later":
            self.later.remove(what)
            self._happen(what[2])
        elif name == "wire":
            self._deliver(what)
        else:
            self._act(name, what)

    def _happen(self, what: Any) -> None:
        if isinstance(what, Item):
            (self.clients if what.by == "client" else self.faults).do(what)
        elif isinstance(what, tuple) and what[0] == "start":
            if what[1] not in self.p.houses and what[1] not in self.retired:
                self.start(what[1])
        else:
            what()

    def _act(self, name: str, what: str) -> None:
        timers, todo = self.timers[name], self.todo[name]
        if what.startswith("redeliver"):
            timers.pop(what)
            return
        todo.pop(what, None)
        timers.pop(what, None)
        if what in EVERY:
            timers[what] = self.clock.world + EVERY[what]
            if what == "beat":
                # the loops also look by themselves: whoever was to wake them may have died
                todo |= dict.fromkeys(("work", "publish") + (("post",) if name in ("clc", "cc") else ()))
        self._as(name, lambda: self.p.act(name, what))
        if name in self.p.houses and what in ("work", "publish", "post"):
            self._again(name, what)

    def _again(self, name: str, what: str) -> None:
        agent: Any = self.p.houses[name].agent
        now = self.clock.world
        timers = self.timers[name]
        if what == "work":
            due = agent.journal._connect().execute("select min(due) from commands where state = 'accepted'").fetchone()[0]
            if due is not None and what not in self.todo[name]:
                self.clock.actor = name
                timers["work"] = now + min(max(due - self.clock.now(), 0.2), 10.0)
        elif what == "publish":
            if agent.journal._connect().execute("select exists (select 1 from reports)").fetchone()[0]:
                timers["publish"] = now + _RETRY_S["publish"]
        else:
            with memory.of(name):
                if outbox.waiting():
                    timers["post"] = now + _RETRY_S["post"]

    def _deliver(self, queue: tuple[str, str]) -> None:
        direction, host = queue
        name = next(n for n, h in self.p.houses.items() if h.agent.me == host)
        if direction != "greet":
            _, message = self.p.wire._queues[queue][0]
            self.tell(name, "got", **about(message, self.clock.world))
        done = self._as(name, lambda: self.p.wire.deliver(queue))
        if done is False and direction != "greet":
            self.tell(name, "not taken", id=about(message)["id"], direction=direction)
        if not done and name in self.timers:
            self.timers[name][f"redeliver {direction}"] = self.clock.world + _RETRY_S["redeliver"]

    def _as(self, name: str, work: Any) -> bool:
        """A role acts; whether it came through. Where it dies, it is gone."""
        self.clock.actor = name
        try:
            work()
        except Crash as crash:
            self.kill(name, f"at {crash}", back_s=self.rng.choice((0.0, 2.0, 20.0)))
            return False
        except Exception as error:
            trouble = of(error)
            if trouble.code != "bug" and isinstance(error, Trouble):
                return False
            self.tell(name, "stumbled", why=f"{type(error).__name__}: {error}"[:300], full=name in self.full)
            return False
        finally:
            self.clock.actor = ""
            self.dying.discard(name)
            if name == "clc":
                self.tell_tasks()
        return True

    # ---- rest

    def _rest(self) -> None:
        """Time goes by until nothing is under way and all pictures agree, and at most so long."""
        from tests.simulator import checker

        lossy = self.faults.counts["message drop"] + self.faults.counts["broker_lost"]
        longest_s = LONGEST_AFTER_LOSS_S if lossy else LONGEST_REST_S
        # an actor that fetched from a dead one has slept ahead, in vain, for as long as its patience is: that is not time to come to rest in
        end = max(self.clock.world, *self.clock.ahead.values(), 0.0) + longest_s
        while True:
            mark = self.clock.world + REST_S
            self._until(lambda mark=mark: self.clock.world >= mark, REST_S)
            last = self.clock.world >= end
            if not last and self.is_open():
                continue
            picture = snapshot.take(self) | {"later": self._eye.a_day_later()}
            if last or not checker.at_rest(self.history.records, picture):
                self.tell("simulator", "rest", picture=picture, after_s=round(longest_s - (end - self.clock.world)))
                return

    def is_open(self) -> bool:
        """Whether anything is under way."""
        if self.p.wire.ready() or any(not isinstance(w, tuple) for _, _, w in self.later):
            return True
        if any(set(t) & {"work", "publish", "post"} for t in self.todo.values()):
            return True
        return snapshot.is_open(self)


def about(message: bytes, now: float = 0.0) -> dict[str, Any]:
    """What a sealed message says on its envelope, and whether it is ``late``: an order that comes after its end."""
    with suppress(ValueError, KeyError):
        e = json.loads(json.loads(message)["signed"])
        late = {"late": True} if 0 < e.get("expires_at", 0) < now else {}
        return {k: e[k] for k in ("kind", "id", "sender", "to", "subject", "task")} | late
    return {"kind": "unreadable"}


__all__ = ["Simulation", "StuckError", "ids", "own"]
