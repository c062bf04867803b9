"""`educloud audit`: who did what and from where, and whether the record of it is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb
from luhyaapi.chain import Check, Verdict, head
from luhyaapi.errors import Failed, Refused

app = noun("audit")
Subject = Annotated[str, typer.Option(metavar="ID", help="Only what is about this thing.")]
Person = Annotated[str, typer.Option(metavar="NAME", help="Only what this person did, or what is theirs.")]
InGroup = Annotated[str, typer.Option("--group", metavar="PATH", help="Only what is of people in this group or below it.")]
Way = Annotated[str, typer.Option(metavar="WAY", help="Only what came by page, api, live, host, cloud or shell.")]
Came = Annotated[str, typer.Option(metavar="RESULT", help="Only what was done, or refused.")]
Since = Annotated[str, typer.Option(metavar="TIME", help="Not before this date or time (UTC), e.g. 2030-01-31 or 2030-01-31T08:00:00Z.")]
Until = Annotated[str, typer.Option(metavar="TIME", help="Before this.")]
_HEADS = ("line", "at", "who", "for", "via", "from", "what", "about", "change")
_MOST = 1000


def _query(**asked: str) -> str:
    given = {name: value for name, value in asked.items() if value}
    return f"?{urlencode(given)}" if given else ""


@verb(app, "list")
def list_lines(  # noqa: PLR0913, PLR0917 - the filters there are
    session: Session, subject: Subject = "", person: Person = "", group: InGroup = "", via: Way = "", result: Came = "", since: Since = "", until: Until = "",
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="So many lines.")] = 50,
) -> None:
    """List the newest lines of the record: all for administrators, of a group for who sees its people, for others what is theirs."""
    asked = _query(subject=subject, person=person, group=group, via=via, result=result, since=since, until=until, limit=str(limit))
    found = session.api.get(api.path("audit") + asked)["results"]
    if session.json:
        output.document(found)
    else:
        output.table(_HEADS, map(_row, found))


def _value(of: dict[str, Any], name: str) -> Any:
    value = output.flat(of.get(name))
    return "-" if value in (None, "") else value


def _row(line: dict[str, Any]) -> tuple[Any, ...]:
    names = dict.fromkeys([*line["before"], *line["after"]])
    change = ", ".join(f"{name}: {_value(line['before'], name)} > {_value(line['after'], name)}" for name in names)
    owner = line["owner"] if line["owner_id"] != line["actor_id"] else ""
    what = f"{line['what']} (refused)" if line["result"] == "refused" else line["what"]
    return line["number"], line["at"], line["actor"], owner, line["via"], line["origin"], what, line["subject"], change


@verb(app, "export")
def export(
    session: Session, out: Annotated[str, typer.Option(metavar="FILE", help="Write it there, a new file; else to standard output.")] = "",
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, for spreadsheets; only JSON lines can be verified.")] = False,
    subject: Subject = "", person: Person = "", since: Since = "", until: Until = "",
) -> None:
    """Export the record in the order of its chain; the head stands in the last line (administrators)."""
    asked = _query(subject=subject, person=person, since=since, until=until, form="csv" if csv else "")
    pieces = session.api.stream(api.path("audit", "export") + asked, 0)
    with ExitStack() as open_:
        target = sys.stdout.buffer
        if out:
            try:
                target = open_.enter_context(Path(out).open("xb"))
            except OSError as e:
                raise Refused("invalid", f"The file {out!r} cannot be written", str(e), hint="Name a file that is not there yet.") from e
        for _, _, piece in pieces:
            target.write(piece)
        target.flush()
    if out:
        output.note(f"The record is in {out}.")


@verb(app, "verify")
def verify(
    session: Session, file: Annotated[str, typer.Argument(metavar="[FILE]", help="An export of JSON lines; else the record of the cloud.")] = "",
    noted: Annotated[list[str], typer.Option("--head", metavar="NUMBER:DIGEST", help="A head that was noted elsewhere; several are possible.")] = [],  # noqa: B006 - typer's way
) -> None:
    """Look whether a line of the record was changed, removed or put in; the exit code is 1 then."""
    check = Check([head(text) for text in noted])
    for text in _of_file(file) if file else _of_cloud(session):
        check.read(text)
    found = check.end()
    _tell(session, found)
    if found.faults:
        error = Failed("digest", "The record is not as it was sealed", found.faults[0],
                       hint="Compare it with an older export, and with the heads noted elsewhere.")
        output.trouble(error)
        raise typer.Exit(api.exit_of(error))


def _tell(session: Session, found: Verdict) -> None:
    if session.json:
        output.document(asdict(found) | {"last": str(found.last)})
        return
    for fault in found.faults:
        output.line(fault)
    if found.more:
        output.line(f"and {found.more} more")
    if not found.faults:
        lines = f"{found.lines} lines, {found.first} to {found.last.number}" if found.lines else "no lines"
        output.line(f"{lines}: nothing was changed{', removed or put in' if found.whole else '; it is filtered, so nobody can tell whether lines lack'}")
    output.line(f"head {found.last}")
    if found.unsealed:
        output.line(f"{found.unsealed} events were not sealed yet")


def _of_file(name: str) -> Iterator[str]:
    api.readable(Path(name), "export")
    with Path(name).open(encoding="utf-8", errors="replace") as lines:
        for n, line in enumerate(lines):
            if not n and not line.startswith("{"):
                raise Refused("invalid", f"{name} is no export that can be verified", "it does not begin as JSON lines do", hint="Export it without --csv.")
            yield line


def _of_cloud(session: Session) -> Iterator[str]:
    rest = b""
    for _, _, piece in session.api.stream(api.path("audit", "export"), 0):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    yield rest.decode("utf-8", "replace")
