"""Command, Report and Envelope: frozen, versioned, self-naming; JSON with a schema is all that crosses the wire."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from luhyaapi.contracts.vocabulary import Lane, Role

_COUNTED = 2**53
"""No counter is larger: what a database column and JSON hold exactly."""


class Model(BaseModel):
    """A frozen value that refuses what it does not know, also a number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _spell(name: str) -> str:
    noun, *verb = re.findall("[A-Z][a-z0-9]*", name)
    return f"{noun}/{'-'.join(verb)}".lower() if verb else noun.lower()


class _Named(Model):
    kind: ClassVar[str]
    since: ClassVar[str] = "1.0"
    v: ClassVar[int] = 1

    @classmethod
    def __pydantic_init_subclass__(cls, **_kw: object) -> None:
        cls.kind = _spell(cls.__name__)


class Command(_Named):
    """An order, down. Unknown fields are refused: a half-understood order is dangerous."""

    to: ClassVar[Role | tuple[Role, ...]]
    timeout_s: ClassVar[float]
    lane: ClassVar[Lane] = Lane.QUICK

    @property
    def subject(self) -> str:
        """What the order is about; orders on one subject are handled one at a time."""
        return str(getattr(self, "instance", "") or getattr(self, "image", ""))


class Report(_Named):
    """A fact, up. Unknown fields are read over: half-understood news is still news."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    durable: ClassVar[bool] = True

    @property
    def subject(self) -> str:
        """What the fact is about; facts on one subject are ordered."""
        return str(getattr(self, "instance", "") or getattr(self, "command", "") or self.kind)


class Envelope(Model):
    """Who says what to whom, until when. Nothing of the transport in the body, nothing of the meaning out here.

    Stamps are seconds since 1970 UTC. ``epoch`` and ``seq`` order the reports of one origin; ``seq`` of a command is 0.
    ``expires_at`` ends the message, ``deadline`` the intention. ``signature`` travels beside the signed bytes.
    """

    id: str = Field(max_length=80)
    task: str = Field(default="", max_length=16)
    kind: str = Field(max_length=40)
    v: int = 1
    sender: str = Field(max_length=20)
    to: str = Field(max_length=20)
    subject: str = Field(default="", max_length=80)
    gen: int = Field(default=0, ge=0, le=_COUNTED)
    fence: int = Field(default=0, ge=0, le=_COUNTED)
    issued_at: float
    expires_at: float
    deadline: float
    epoch: int = Field(default=0, ge=0, le=_COUNTED)
    seq: int = Field(default=0, ge=0, le=_COUNTED)
    body: str


def decode(kinds: dict[str, type[_Named]], envelope: Envelope) -> _Named:
    """The message an envelope carries. Raises KeyError for an unknown kind, ValueError for a wrong body."""
    return kinds[envelope.kind].model_validate_json(envelope.body)
