"""What reaches the terminal: one JSON document or a table on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from luhyaapi.errors import CODES, Trouble

Row = Sequence[Any]


def clean(value: Any, *, keep: str = "") -> str:
    """``value`` as one printable text: what could steer a terminal is written as an escape; ``keep`` passes."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


def document(thing: Any) -> None:
    """Print the one JSON document of this call."""
    sys.stdout.write(json.dumps(thing, ensure_ascii=False, indent=2, sort_keys=False) + "\n")
    sys.stdout.flush()


def line(text: str) -> None:
    """One line of result on stdout."""
    sys.stdout.write((clean(text) if text else "") + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line beside the result, on stderr."""
    sys.stderr.write((clean(text) if text else "") + "\n")
    sys.stderr.flush()


def table(heads: Sequence[str], rows: Iterable[Row]) -> None:
    """A table on stdout: one row a line however long, so that ids can be copied and lines be searched."""
    from rich.cells import cell_len

    grid = [[clean(cell) for cell in row] for row in rows]
    titles = [head.upper() for head in heads]
    widths = [max(cell_len(row[n]) for row in [titles, *grid]) for n in range(len(titles))]
    for row in [titles, *grid]:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.flush()


def fields(thing: dict[str, Any], names: Sequence[str] = ()) -> None:
    """One thing as two columns; ``names`` first, then the rest."""
    order = [*(n for n in names if n in thing), *(k for k in thing if k not in names)]
    table(("field", "value"), [(name, flat(thing[name])) for name in order])


def flat(value: Any) -> Any:
    """A value as one cell: of a thing its fields, of a list what is in it."""
    if isinstance(value, dict):
        return " ".join(f"{name}={flat(each)}" for name, each in value.items() if each not in (None, "")) or "-"
    if isinstance(value, list):
        return ", ".join(str(flat(each)) for each in value) or "-"
    return value


def trouble(error: Trouble) -> None:
    """The three lines of an error and its code, on stderr."""
    note(f"what: {error.what}")
    note(f"why:  {error.why or CODES[error.code].title}")
    note(f"hint: {error.hint}")
    task = f"  task: {error.params['task']}" if error.params.get("task") else ""
    note(f"code: {error.code}{task}  (educloud explain {error.code})")


def trouble_form(error: Trouble) -> dict[str, Any]:
    """The JSON document of a call that failed."""
    form: dict[str, Any] = {"error": dict(error.wire())}
    if error.params.get("task"):
        form["error"]["task"] = error.params["task"]
    return form


class Bars:
    """Progress on stderr: bars on a terminal, a line per change elsewhere. Use as a context."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._known: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._live = Progress(*columns, console=Console(file=sys.stderr))
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, name: str, done: float, total: float, state: str = "") -> None:
        """Bring the bar ``name`` to ``done`` of ``total``; ``state`` is a word behind the name."""
        label = clean(f"{name} {state}".strip())
        if self._live:
            if name not in self._known:
                self._known[name] = self._live.add_task(label, total=total or None)
            self._live.update(self._known[name], completed=done, total=total or None, description=label)
            return
        quarter = int(4 * done / total) if total else 0
        if not self._quiet and self._known.get(name) != (state, quarter):
            self._known[name] = (state, quarter)
            note(f"  {label} {25 * quarter}%" if total else f"  {label}")


def confirm(question: str, *, yes: bool, terminal: Callable[[], bool]) -> None:
    """Go on only with ``--yes`` or a yes on the terminal. Raises Refused(invalid) elsewhere, Refused(cancelled) on a no."""
    from luhyaapi.errors import Refused

    if yes:
        return
    if not terminal():
        raise Refused("invalid", f"{question} is not done without --yes", "nobody is there to ask", hint="Add --yes if it is meant.")
    sys.stderr.write(clean(f"{question}? [y/N] "))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Refused("cancelled", "Nothing was done", "the answer was no")
