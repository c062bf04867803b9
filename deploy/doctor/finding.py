"""One line of the examination: what was looked at, how it is, why, and what to do next."""

from __future__ import annotations

from dataclasses import asdict, dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One thing. ``health`` is ok, warn or fail; ``next`` is a sentence, empty where nothing is to be done."""

    name: str
    health: str
    what: str
    why: str = ""
    next: str = ""

    def form(self) -> dict[str, str]:
        """As it stands in the JSON array."""
        return asdict(self)


def ok(name: str, what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(name, OK, what)


def warn(name: str, what: str, why: str, next_step: str) -> Finding:
    """It works, and not as it could."""
    return Finding(name, WARN, what, why, next_step)


def fail(name: str, what: str, why: str, next_step: str) -> Finding:
    """Something does not work until somebody acts."""
    return Finding(name, FAIL, what, why, next_step)


def worst(findings: list[Finding]) -> str:
    """The health of all together."""
    return next((h for h in (FAIL, WARN) if any(f.health == h for f in findings)), OK)
