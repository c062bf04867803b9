"""Every error that may cross a door: its family says who must act, its code says what happened."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Code:
    """What a code means to its reader. ``hint`` is the next step, in one sentence."""

    name: str
    family: str
    title: str
    hint: str
    http: int
    exit: int


CODES: dict[str, Code] = {
    c.name: c
    for c in (
        Code("invalid", "refused", "The request is not valid", "Correct the named field and send it again.", 422, 2),
        Code("forbidden", "refused", "Not permitted", "Ask an administrator for the permission.", 403, 4),
        Code("unauthenticated", "refused", "Not signed in", "Sign in, or give a valid token.", 401, 4),
        Code("second_step", "refused", "A second step is needed", "Give the code your app shows now, or one of your recovery codes.", 401, 4),
        Code("password_change", "refused", "The password has to be changed first", "Choose one of your own: `educloud admin password`, or at the console.",
             403, 4),
        Code("locked_out", "refused", "Too many wrong attempts", "Wait until then; an administrator can lift it.", 429, 6),
        Code("not_found", "refused", "Not found", "Check the name or id; list what there is.", 404, 3),
        Code("state", "refused", "Wrong state for this action", "Look at its current state, wait or act on that first.", 409, 5),
        Code("exists", "refused", "It exists already", "Choose another name, or use the existing one.", 409, 5),
        Code("conflict", "refused", "It conflicts with something else", "Look at what it names; change that, or give something else.", 409, 5),
        Code("quota", "refused", "Over the limit", "Free something, or ask an administrator to raise the limit.", 403, 6),
        Code("unsupported", "refused", "Not supported there", "Upgrade that host, or choose another.", 422, 5),
        Code("image_format", "refused", "The image cannot be accepted", "Convert it to a plain qcow2 or raw disk without backing or data file.", 422, 1),
        Code("digest", "failed", "The bytes do not match their digest", "Upload or fetch it again; if it repeats, check the disk and the network.", 502, 1),
        Code("cancelled", "refused", "Cancelled", "Start it again if it is still wanted.", 409, 5),
        Code("unsigned", "refused", "The message is not signed", "Nothing to do for a user; look at the log of the receiver.", 403, 4),
        Code("forged", "refused", "The signature does not fit its sender", "Check who can reach the broker; admit the host anew.", 403, 4),
        Code("expired", "refused", "The message came too late", "Check the clocks of both hosts; the reconciler says it again.", 409, 5),
        Code("misaddressed", "refused", "The message is for somebody else", "Nothing to do for a user; look at the log of the receiver.", 403, 4),
        Code("no_capacity", "unavailable", "No node can take it now", "Wait, stop something, or add a node; `instance run --why` names each reason.", 503, 6),
        Code("host_silent", "unavailable", "A host does not answer", "Look at `educloud status`; start the host or its role.", 503, 1),
        Code("busy", "unavailable", "Busy", "Try again in a moment.", 503, 1),
        Code("directory_down", "unavailable", "The directory does not answer", "Try again later, or tell an administrator.", 503, 1),
        Code("broker_down", "unavailable", "The broker does not answer", "Start it; nothing is lost, waiting commands go out by themselves.", 503, 1),
        Code("interrupted", "unavailable", "Interrupted", "It is tried again by itself.", 503, 1),
        Code("transfer", "unavailable", "The bytes did not arrive", "It resumes by itself; check the network between the two hosts.", 503, 1),
        Code("hypervisor_down", "unavailable", "The hypervisor does not answer", "Start libvirt on that node; `make doctor` there tells more.", 503, 1),
        Code("hypervisor", "failed", "The hypervisor said no", "Read the reason; fix the node or choose another machine size.", 502, 1),
        Code("host_lost", "failed", "Its host is gone for good", "Start it: it begins anew from its image; or delete it.", 502, 1),
        Code("network", "failed", "The network could not be set up", "Read the reason; `make doctor` on that host tells more.", 502, 1),
        Code("disk_full", "failed", "No space left", "Free space on that host, then try again.", 502, 6),
        Code("guest", "failed", "The guest did not do it", "Look at its screen and console log.", 502, 1),
        Code("timeout", "failed", "Not done in time", "Look at `educloud task trace`; then try again.", 504, 7),
        Code("program", "failed", "An outside program failed", "Read its message; install or repair it.", 502, 1),
        Code("missing", "failed", "Something is not installed", "Install what the message names, then try again.", 502, 1),
        Code("bug", "bug", "A fault of ours", "Report it with the task id; nothing of yours is wrong.", 500, 1),
    )
}


class Trouble(Exception):  # noqa: N818 - the family names read as nouns, not as "...Error"
    """Base of all errors with a code. ``what`` one line, ``why`` one line; the hint comes from the code."""

    family: ClassVar[str] = "bug"

    def __init__(self, code: str, what: str, why: str = "", **params: Any) -> None:
        if code not in CODES:
            code, why = "bug", f"unknown code {code!r}: {why}"
        super().__init__(f"{what}{': ' + why if why else ''}")
        self.code = code
        self.what = what
        self.why = why
        self.params = params

    @property
    def hint(self) -> str:
        """The next step for the reader."""
        return str(self.params.get("hint") or CODES[self.code].hint)

    def wire(self) -> dict[str, str]:
        """The form in which it crosses the wire and stands in JSON answers."""
        return {"code": self.code, "what": self.what, "why": self.why, "hint": self.hint}


class Refused(Trouble):
    """The asker must change something; the world did not change; nobody tries again."""

    family = "refused"


class Unavailable(Trouble):
    """Nobody's fault, later may work; the world did not change; tried again until the deadline."""

    family = "unavailable"


class Failed(Trouble):
    """Tried, did not work; undo ran; the user may try again."""

    family = "failed"


class Bug(Trouble):
    """We are wrong; nobody tries again; logged loudly."""

    family = "bug"

    def __init__(self, what: str, why: str = "", **params: Any) -> None:
        super().__init__("bug", what, why, **params)


def from_wire(form: dict[str, str]) -> Trouble:
    """The error that :meth:`Trouble.wire` wrote, with its family again."""
    code = CODES.get(form.get("code", ""), CODES["bug"])
    family = {"refused": Refused, "unavailable": Unavailable, "failed": Failed}.get(code.family)
    what, why = form.get("what", ""), form.get("why", "")
    params = {"hint": form["hint"]} if form.get("hint") else {}
    return family(code.name, what, why, **params) if family else Bug(what, why, **params)


_LEARNED: list[tuple[tuple[type[Exception], ...], Callable[[BaseException], Trouble]]] = []


def learn(kinds: tuple[type[Exception], ...], said: Callable[[BaseException], Trouble]) -> None:
    """What exceptions of others, such as a database's, are in our words: :func:`of` says it from now on."""
    _LEARNED.append((kinds, said))


def of(error: BaseException) -> Trouble:
    """Any exception as an error with a code; what is not ours is a Bug."""
    if isinstance(error, Trouble):
        return error
    for kinds, said in _LEARNED:
        if isinstance(error, kinds):
            return said(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed("disk_full", "A file could not be written", str(error))
    return Bug("Something unexpected happened", f"{type(error).__name__}: {error}")
