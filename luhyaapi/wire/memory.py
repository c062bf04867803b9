"""Transport in process: deterministic, delivered only when asked, one message at a time or all, with faults to inject."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from luhyaapi import clock
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.link import Account, OnCommand, OnDead, OnReports

Fault = Callable[[str, str, bytes], list[bytes]]
"""(direction 'down' or 'up', receiving or sending host, message) -> what is delivered: [] drops, twice doubles."""
Queue = tuple[str, str]
"""('down', a child) holds its orders, ('up', a boss) the reports to it; ('greet', a child) is a connection to be told of."""


def _faithful(_direction: str, _host: str, message: bytes) -> list[bytes]:
    return [message]


def _nothing() -> None:
    return


@dataclass
class MemoryWire:
    """The brokers of a whole cloud, one for each boss. ``down``: none answers; ``away`` holds the bosses whose one does not.

    ``cuts`` holds links of children that are cut one way: ('down', child) brings no order, ('up', child) takes no report.
    ``on_post`` is told that something waits.
    """

    fault: Fault = _faithful
    down: bool = False
    on_post: Callable[[], None] = _nothing
    away: set[str] = field(default_factory=set)
    cuts: set[tuple[str, str]] = field(default_factory=set)
    _since: dict[str, float] = field(default_factory=dict)
    _born: float = field(default_factory=clock.now)
    _queues: dict[Queue, deque[tuple[str, bytes]]] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    _commands_to: dict[str, OnCommand] = field(default_factory=dict)
    _connects: dict[str, Callable[[], None]] = field(default_factory=dict)
    _greet: dict[str, None] = field(default_factory=dict)
    _reports_to: dict[str, OnReports] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # ---- faults

    def cut(self) -> None:
        """No broker answers."""
        self.down = True

    def heal(self) -> None:
        """All brokers answer again and no link is cut; whoever was cut off connects anew."""
        lost = [child for child in self._connects if not self.reaches(child)]
        self._born = clock.now()
        self._since.clear()
        self.away.clear()
        self.cuts.clear()
        self.down = False
        self._greet |= dict.fromkeys(lost)

    def leave(self, boss: str) -> None:
        """The broker of one boss stops answering."""
        self.away.add(boss)

    def come_back(self, boss: str) -> None:
        """It answers again; its children connect anew."""
        self.away.discard(boss)
        self._since[boss] = clock.now()
        self._greet |= dict.fromkeys(c for c in self._connects if self._known.get(c) == boss)

    def lose(self, boss: str) -> int:
        """The broker of one boss forgets every message it holds; how many. Accounts are made again from the boss's own rows."""
        gone = [q for q in self._queues if q == ("up", boss) or (q[0] == "down" and self._known.get(q[1]) == boss)]
        lost = sum(len(self._queues.pop(q)) for q in gone)
        self.come_back(boss)
        return lost

    def cut_link(self, child: str, directions: tuple[str, ...] = ("down", "up")) -> None:
        """Nothing passes between a child and its boss's broker, in these directions."""
        self.cuts |= {(d, child) for d in directions}

    def mend_link(self, child: str) -> None:
        """It passes again; the child connects anew."""
        if any(c == child for _, c in self.cuts):
            self.cuts = {c for c in self.cuts if c[1] != child}
            self._greet |= dict.fromkeys({child} & set(self._connects))

    def reaches(self, child: str) -> bool:
        """Whether a child's connection stands."""
        return not self.down and self._known.get(child, "") not in self.away and ("up", child) not in self.cuts

    def answers(self, boss: str) -> bool:
        """Whether a boss's own broker does."""
        return not self.down and boss not in self.away

    def inject(self, direction: str, host: str, message: bytes) -> None:
        """Put a message that was held back into its queue; ``host`` as a fault is told."""
        if direction == "down":
            self._queue("down", host).append(("", message))
        elif (boss := self._known.get(host)) is not None:
            self._queue("up", boss).append((host, message))

    # ---- delivering

    def ready(self) -> list[Queue]:
        """What can be delivered now, in the order it came to be."""
        found: list[Queue] = [("greet", c) for c in list(self._greet) if c in self._connects and self.reaches(c)]
        return found + [q for q, waiting in list(self._queues.items()) if waiting and self._takes(q)]

    def pending(self) -> int:
        """Messages not delivered yet to somebody who takes them."""
        return sum(len(self._queues[q]) for q in self.ready() if q[0] != "greet")

    def deliver(self, queue: Queue) -> None:
        """The first message of a queue; what its taker raises at comes again."""
        direction, host = queue
        if direction == "greet":
            self._greet.pop(host)
            self._connects[host]()
            return
        waiting = self._queues[queue]
        sender, message = waiting[0]
        if direction == "down":
            self._commands_to[host](message)
        elif (failed := self._reports_to[host]([(sender, message)])[0]) is not None:
            raise failed
        if waiting and waiting[0][1] is message:
            waiting.popleft()

    def pump(self) -> int:
        """Deliver everything that waits now; how many messages that were. What its taker raises at comes again.

        Raises what the first such taker raised, after all others had theirs.
        """
        moved, raised = 0, None
        for queue in self.ready():
            try:
                for _ in range(len(self._queues[queue]) if queue[0] != "greet" else 1):
                    if queue not in self.ready():
                        break
                    self.deliver(queue)
                    moved += 1
            except Exception as e:
                raised = raised or e
        if raised:
            raise raised
        return moved

    def _takes(self, queue: Queue) -> bool:
        direction, host = queue
        if direction == "up":
            return host in self._reports_to and self.answers(host)
        boss = self._known.get(host, "")
        return host in self._commands_to and self.answers(boss) and ("down", host) not in self.cuts

    def _queue(self, direction: str, host: str) -> deque[tuple[str, bytes]]:
        with self._lock:
            return self._queues.setdefault((direction, host), deque())

    # ---- posting

    def post_command(self, to: str, message: bytes) -> None:
        """Into the receiver's queue."""
        if not self.answers(self._known.get(to, "")):
            raise Unavailable("broker_down", "The broker does not answer")
        if to not in self._known:
            raise Refused("not_found", f"Nobody reads the queue of {to}")
        self._queue("down", to).extend(("", m) for m in self.fault("down", to, message))
        self.on_post()

    def post_report(self, sender: str, message: bytes) -> None:
        """Into the boss's queue."""
        boss = self._known.get(sender)
        if boss is None:
            raise Unavailable("broker_down", "The broker does not know us", sender)
        if not self.reaches(sender):
            raise Unavailable("broker_down", "The broker does not answer")
        self._queue("up", boss).extend((sender, m) for m in self.fault("up", sender, message))
        self.on_post()

    def since(self, boss: str) -> float | None:
        """Since when a boss's broker has answered without a break; None: it does not."""
        return self._since.get(boss, self._born) if self.answers(boss) else None


class MemoryUpLink:
    """A child's end."""

    def __init__(self, wire: MemoryWire, me: str) -> None:
        self._wire = wire
        self._me = me

    def start(self, on_command: OnCommand, on_connect: Callable[[], None]) -> None:
        self._wire._commands_to[self._me] = on_command  # noqa: SLF001 - the two ends are one transport
        self._wire._connects[self._me] = on_connect  # noqa: SLF001
        if self._wire.reaches(self._me):
            on_connect()
        else:
            self._wire._greet[self._me] = None  # noqa: SLF001

    def report(self, message: bytes, *, durable: bool) -> None:  # noqa: ARG002 - memory keeps nothing
        self._wire.post_report(self._me, message)

    def is_connected(self) -> bool:
        return self._wire.reaches(self._me)

    def trouble(self) -> str:
        return "" if self.is_connected() else "the boss does not answer"

    def stop(self) -> None:
        for held in (self._wire._commands_to, self._wire._connects, self._wire._greet):  # noqa: SLF001
            held.pop(self._me, None)


class MemoryDownLink:
    """A boss's end."""

    def __init__(self, wire: MemoryWire, me: str) -> None:
        self._wire = wire
        self._me = me

    def start(self, on_reports: OnReports, on_dead: OnDead = lambda _dead: None) -> None:  # noqa: ARG002 - what fails here stays first in line
        self._wire._reports_to[self._me] = on_reports  # noqa: SLF001

    def command(self, to: str, message: bytes, *, control: bool) -> None:  # noqa: ARG002 - one queue is enough
        if not self._wire.answers(self._me):
            raise Unavailable("broker_down", "The broker does not answer")
        self._wire.post_command(to, message)

    def report_again(self, sender: str, message: bytes) -> None:
        self._wire.post_report(sender, message)

    def admit(self, child: str, password: str = "") -> Account:
        self._wire._known[child] = self._me  # noqa: SLF001
        return Account(f"memory://{child}:{password}")

    def remove(self, child: str) -> None:
        self._wire._known.pop(child, None)  # noqa: SLF001
        self._wire._queues.pop(("down", child), None)  # noqa: SLF001

    def is_connected(self) -> bool:
        return self._wire.answers(self._me)

    def listening_since(self) -> float | None:
        return self._wire.since(self._me)

    def stop(self) -> None:
        self._wire._reports_to.pop(self._me, None)  # noqa: SLF001
