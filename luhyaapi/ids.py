"""Typed identifiers: a short noun, a dash, eight hexadecimal digits."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable
from typing import Annotated

from pydantic import StringConstraints

_HEX = "[0-9a-f]{8}"
HOST_ROLES = ("clc", "walrus", "cc", "nc", "sc")


def _typed(prefix: str) -> StringConstraints:
    return StringConstraints(pattern=rf"^{prefix}-{_HEX}$")


ImgId = Annotated[str, _typed("img")]
InsId = Annotated[str, _typed("ins")]
TaskId = Annotated[str, _typed("tsk")]
FwdId = Annotated[str, _typed("fwd")]
PrbId = Annotated[str, _typed("prb")]
LtrId = Annotated[str, _typed("ltr")]
NetId = Annotated[str, StringConstraints(pattern=rf"^(default|net-{_HEX})$")]
HostId = Annotated[str, StringConstraints(pattern=rf"^({'|'.join(HOST_ROLES)})-{_HEX}$")]
CommandId = Annotated[str, StringConstraints(pattern=rf"^tsk-{_HEX}#[a-z0-9.-]+$", max_length=64)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]

_ANY = re.compile(rf"^[a-z]+-{_HEX}$")
Chance = Callable[[int], bytes]
_chance: Chance = secrets.token_bytes


def use(chance: Chance) -> Chance:
    """Draw all ids and secrets from ``chance(bytes)`` instead; returns the one that was there. For the simulator."""
    global _chance  # the one seam through which chance enters the program
    before, _chance = _chance, chance
    return before


def new(prefix: str) -> str:
    """A fresh id of the given noun, for example ``ins-3fa21c00``."""
    return f"{prefix}-{_chance(4).hex()}"


def secret() -> str:
    """An unguessable text of 192 bits, safe in a URL."""
    return base64.urlsafe_b64encode(_chance(24)).decode()


def random_bytes(count: int) -> bytes:
    """So many unguessable bytes."""
    return _chance(count)


def is_id(text: str, prefix: str) -> bool:
    """Whether ``text`` is an id of the noun ``prefix``."""
    return text.startswith(prefix + "-") and bool(_ANY.fullmatch(text))


def command_id(task: str, step: str | int, attempt: int = 0) -> str:
    """``<task>#<step>.<attempt>``: computed, so that saying a step again repeats its id."""
    return f"{task}#{step}.{attempt}"


def task_of(command: str) -> str:
    """The task a command id belongs to."""
    return command.split("#", 1)[0]


def step_of(command: str) -> str:
    """The step of its task a command id belongs to."""
    return command.partition("#")[2].rpartition(".")[0]


def role_of(host: str) -> str:
    """The role a host id names, for example ``nc``."""
    return host.rsplit("-", 1)[0]
