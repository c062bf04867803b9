"""Every life cycle as a table: (state, event) -> state. ``advance`` is pure and is the only judge."""

from __future__ import annotations

from dataclasses import dataclass

from luhyaapi.contracts.vocabulary import HostState, ImageState, InstanceState, TaskState, WorkspaceState
from luhyaapi.errors import Refused


@dataclass(frozen=True)
class LifeCycle:
    """A table of moves. Every state that is not ``stable`` is on its way to one that is."""

    name: str
    first: str
    moves: dict[tuple[str, str], str]
    stable: frozenset[str]
    final: frozenset[str] = frozenset()

    @property
    def states(self) -> set[str]:
        """Every state of the table."""
        return {self.first, *(s for s, _ in self.moves), *self.moves.values()}

    def advance(self, state: str, event: str) -> str:
        """The state after ``event``. Raises Refused(state) when the table has no such move."""
        try:
            return self.moves[str(state), event]
        except KeyError:
            can = sorted(e for s, e in self.moves if s == state and e in ASKED)
            why = f"it is {state}" + (f"; possible now: {', '.join(can)}" if can else "")
            raise Refused("state", f"This {self.name} cannot {event} now", why) from None

    def allows(self, state: str, event: str) -> bool:
        """Whether the table has that move."""
        return (str(state), event) in self.moves


def _moves(*rows: tuple[str, str, str]) -> dict[tuple[str, str], str]:
    return {(str(s), event): str(to) for names, event, to in rows for s in str(names).split()}


# What somebody can ask for; the other events are facts and outcomes.
ASKED = frozenset({"start", "stop", "reboot", "connect", "restore", "delete", "cancel", "drain", "resume", "submit", "abandon"})
_T, _I, _G, _W, _H = TaskState, InstanceState, ImageState, WorkspaceState, HostState

TASK = LifeCycle(
    "task", _T.QUEUED,
    _moves(
        ("queued", "start", _T.RUNNING),
        ("queued running", "wait", _T.QUEUED),
        ("queued running", "cancel", _T.CANCELLING),
        ("cancelling", "cancel", _T.CANCELLING),
        ("queued running cancelling lost", "finish", _T.DONE),
        ("queued running cancelling lost", "fail", _T.FAILED),
        ("queued running cancelling lost", "end_cancelled", _T.CANCELLED),
        ("queued running cancelling", "lose", _T.LOST),
        ("lost", "start", _T.RUNNING),
        ("lost", "cancel", _T.CANCELLING),
    ),
    stable=frozenset({_T.DONE, _T.FAILED, _T.CANCELLED, _T.LOST}),
    final=frozenset({_T.DONE, _T.FAILED, _T.CANCELLED}),
)

# Facts (``seen_*``) come from the node and win over intentions; intentions come from the user's action.
INSTANCE = LifeCycle(
    "instance", _I.DEFINED,
    _moves(
        ("defined stopped failed starting", "start", _I.QUEUED),
        ("queued", "placed", _I.STARTING),
        ("queued running starting unknown failed", "stop", _I.STOPPING),
        ("running", "reboot", _I.STARTING),
        ("running", "connect", _I.RUNNING),
        ("running starting stopped failed unknown", "restore", _I.STARTING),
        ("defined queued starting running stopping stopped failed unknown", "delete", _I.STOPPING),
        ("defined queued starting running stopping stopped failed unknown", "deleted", _I.DELETED),
        ("queued starting running unknown failed stopped", "seen_starting", _I.STARTING),
        ("queued starting running unknown failed stopped stopping", "seen_running", _I.RUNNING),
        ("starting running stopping unknown stopped failed defined", "seen_stopped", _I.STOPPED),
        ("defined starting running stopping unknown stopped failed", "seen_failed", _I.FAILED),
        ("queued starting stopping running unknown", "host_silent", _I.UNKNOWN),
        ("defined queued starting stopping failed", "fail", _I.FAILED),
        ("queued starting stopping", "undone", _I.STOPPED),
    ),
    stable=frozenset({_I.DEFINED, _I.RUNNING, _I.STOPPED, _I.DELETED, _I.FAILED, _I.UNKNOWN}),
    final=frozenset({_I.DELETED}),
)

IMAGE = LifeCycle(
    "image", _G.DRAFT,
    _moves(
        ("draft", "build", _G.BUILDING),
        ("building draft", "publish", _G.PUBLISHED),
        ("building draft", "refuse", _G.FAILED),
        ("published draft failed", "retire", _G.RETIRED),
    ),
    stable=frozenset({_G.DRAFT, _G.PUBLISHED, _G.RETIRED, _G.FAILED}),
    final=frozenset({_G.RETIRED}),
)

WORKSPACE = LifeCycle(
    "workspace", _W.PREPARING,
    _moves(
        ("preparing", "prepared", _W.EDITING),
        ("preparing", "fail", _W.FAILED),
        ("editing", "submit", _W.SUBMITTING),
        ("submitting", "fail", _W.EDITING),
        ("submitting", "publish", _W.PUBLISHED),
        ("preparing editing submitting", "abandon", _W.ABANDONED),
    ),
    stable=frozenset({_W.EDITING, _W.PUBLISHED, _W.ABANDONED, _W.FAILED}),
    final=frozenset({_W.PUBLISHED, _W.ABANDONED, _W.FAILED}),
)

HOST = LifeCycle(
    "host", _H.NEW,
    _moves(
        ("new", "admit", _H.DOWN),
        ("down silent up", "hello", _H.UP),
        ("draining", "hello", _H.DRAINING),
        ("up draining down", "silence", _H.SILENT),
        ("silent", "silence", _H.SILENT),
        ("up silent down", "drain", _H.DRAINING),
        ("draining", "drain", _H.DRAINING),
        ("draining", "resume", _H.UP),
        ("up", "resume", _H.UP),
        ("new up silent draining down", "retire", _H.RETIRED),
    ),
    stable=frozenset(_H),
    final=frozenset({_H.RETIRED}),
)

LIFE_CYCLES = (TASK, INSTANCE, IMAGE, WORKSPACE, HOST)
