"""The verbs that stand alone: status, login, explain, doctor, version."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import contexts, output
from deploy.cli.session import PasswordFile, Session, verb
from luhyaapi.errors import CODES, Refused, Trouble

if TYPE_CHECKING:
    from deploy.doctor.finding import Finding


def status(session: Session) -> None:
    """Say how the cloud is: its parts, hosts and their last heartbeats."""
    from deploy.cli import api, hosts

    found = session.api.get(api.path("status"))
    if session.json:
        output.document(found)
        return
    if found.get("simulation"):
        output.line("simulation: no machine really runs")
    here = session.api.context
    output.line(f"health: {found.get('health')}   {here.url}{f' as {here.user}' if here.user else ''}")
    if found.get("parts"):
        output.table(("part", "health", ""), [(p.get("name"), p.get("health"), p.get("line")) for p in found["parts"]])
    output.table(hosts.HEADS, hosts.host_rows(found.get("hosts") or []))


def login(
    session: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the cloud, for example http://127.0.0.1:8600")],
    user: Annotated[str, typer.Option(help="Name of the account.")] = "admin",
    password_file: PasswordFile = "",
    name: Annotated[str, typer.Option(help="Name of the context to write.")] = "default",
    ca_file: Annotated[Path | None, typer.Option(help="Certificate the cloud is trusted by.")] = None,
    code: Annotated[str, typer.Option(help="Code of the second step; asked for where one is needed.")] = "",
) -> None:
    """Sign in and remember the cloud in the client's configuration."""
    from deploy.cli import api, passwords

    base = contexts.checked_url(url)
    password = session.password(password_file, prompt=f"Password of {user}")
    if not password:
        raise Refused("invalid", "A password is needed", "nobody is there to ask", hint="Add --password-file FILE.")
    if base.startswith("http:") and not api.loopback(base):
        output.note("warning: without https the password and the token can be read on the way")
    trust = str(ca_file.absolute()) if ca_file else ""
    made = passwords.signed_in(session, contexts.Context(name, base, "", trust), user, password, code)
    chosen = contexts.Context(name, base, str(made["token"]), trust, user)
    if made.get("password_change"):
        chosen = passwords.own_instead(session, chosen, user, password)
    before, _ = contexts.load(session.config)
    contexts.save(chosen, session.config)
    if session.json:
        output.document(contexts.as_json(chosen) | {"user": user, "expires_at": made.get("expires_at")})
    else:
        until = f", until {made['expires_at']}" if made.get("expires_at") else ""
        output.note(f"Signed in at {base} as {user}{until}. Commands go there from now on (context {name} in {session.config}).")
        if before not in ("", name):
            output.note(f"Before it was {before}: --context {before} still goes there.")


def explain(session: Session, code: Annotated[str, typer.Argument(metavar="CODE", help="The code that stands on an error.")]) -> None:
    """Say what an error's code means and what to do."""
    from dataclasses import asdict

    found = CODES.get(code)
    if found is None:
        raise Refused("not_found", f"There is no code {code!r}", "known: " + ", ".join(sorted(CODES)))
    if session.json:
        output.document(asdict(found))
        return
    acts = {"refused": "You, or an administrator, must change something.", "unavailable": "Nobody's fault; later it may work.",
            "failed": "It was tried and did not work; what was half done is undone.", "bug": "A fault of ours."}  # fmt: skip
    output.line(f"{found.name}: {found.title}")
    output.line(acts[found.family])
    output.line(found.hint)
    output.line(f"HTTP {found.http}, exit code {found.exit}")


def version_of() -> str:
    """The version of this program."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("educloud")
    except PackageNotFoundError:
        return _from_tree()


def _from_tree() -> str:
    import tomllib

    try:
        form = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
        return str(form["project"]["version"])
    except (OSError, ValueError, KeyError):
        return "unknown"


def version(session: Session) -> None:
    """Print the version of this program."""
    form = {"educloud": version_of(), "python": platform.python_version()}
    if session.json:
        output.document(form)
    else:
        output.line(f"educloud {form['educloud']} (Python {form['python']})")


def _of_client(session: Session) -> list[Finding]:
    """The client itself, and the cloud it would ask."""
    from deploy.doctor.finding import fail, ok, warn

    warning = contexts.too_open(session.config)
    found = [warn("context", warning, "it holds tokens", f"chmod 600 {session.config}")] if warning else []
    try:
        chosen = contexts.choose(session.context_name, session.environ, session.config)
    except Trouble as e:
        return [*found, warn("context", e.what, e.why, f"`make up` makes a cloud here; or: {e.hint}")]
    found.append(ok("context", f"{chosen.name}: {chosen.url}"))
    if not chosen.token:
        return [*found, fail("token", f"There is none for {chosen.url}", "nobody is signed in", f"Sign in: educloud login {chosen.url}")]
    return [*found, *_of_cloud(session)]


def _of_cloud(session: Session) -> list[Finding]:
    from deploy.cli import api
    from deploy.doctor.finding import fail, ok, warn
    from deploy.doctor.running import heartbeats

    try:
        answer = session.api.get(api.path("status"))
    except Trouble as e:
        return [fail("cloud", e.what, e.why, e.hint)]
    found = [ok("cloud", "it answers")]
    for part in answer.get("parts") or []:
        name, line = str(part.get("name")), str(part.get("line"))
        if part.get("health") == "bad":
            found.append(fail(name, "The cloud says it is down", line, "Run `make doctor` on the host it is on."))
        elif part.get("health") == "warn":
            found.append(warn(name, "The cloud says it needs a look", line, "Look at `educloud status` and `educloud host list`."))
    is_board_up = not any((p.get("name"), p.get("health")) == ("board", "bad") for p in answer.get("parts") or [])
    return found + heartbeats(answer.get("hosts") or [], is_board_up=is_board_up)


def _of_host(session: Session, *, is_client: bool) -> list[Finding]:
    """The machine itself; where only the client is used nothing else need be here."""
    from deploy.doctor import examination, machine

    if is_client and not examination.is_set_up(session.environ):
        return [machine.python(sys.version_info[:3])]
    return examination.examine(session.environ)


def doctor(session: Session) -> None:
    """Look for what is wrong on this machine and with the chosen cloud; exit code 1 when something is."""
    from deploy.doctor.__main__ import lines
    from deploy.doctor.finding import FAIL, worst

    of_client = _of_client(session)
    found = [*_of_host(session, is_client=any((f.name, f.health) == ("context", "ok") for f in of_client)), *of_client]
    if session.json:
        output.document([f.form() for f in found])
    else:
        for line in lines([f.form() for f in found]):
            output.line(line)
    if worst(found) == FAIL:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Give ``app`` the verbs that stand alone."""
    for name, work in (("status", status), ("login", login), ("explain", explain), ("doctor", doctor), ("version", version)):
        verb(app, name)(work)
