"""The verbs that stand alone: status, login, explain, doctor, version."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli import contexts, output
from deploy.cli.session import PasswordFile, Session, verb
from luhyaapi.errors import CODES, Refused, Trouble

_OLDEST = (3, 11)


def status(session: Session) -> None:
    """Say how the cloud is: its parts, hosts and their last heartbeats."""
    from deploy.cli import api, hosts

    found = session.api.get(api.path("status"))
    if session.json:
        output.document(found)
        return
    output.line(f"health: {found.get('health')}   {session.api.context.url}")
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
) -> None:
    """Sign in and remember the cloud in the client's configuration."""
    from deploy.cli import api

    base = contexts.checked_url(url)
    password = session.password(password_file, prompt=f"Password of {user}")
    if not password:
        raise Refused("invalid", "A password is needed", "nobody is there to ask", hint="Add --password-file FILE.")
    if base.startswith("http:") and not api.loopback(base):
        output.note("warning: without https the password and the token can be read on the way")
    trust = str(ca_file.absolute()) if ca_file else ""
    made = api.sign_in(contexts.Context(name, base, "", trust), user, password, session.transport)
    chosen = contexts.Context(name, base, str(made["token"]), trust, user)
    contexts.save(chosen, session.config)
    if session.json:
        output.document(contexts.as_json(chosen) | {"user": user, "expires_at": made.get("expires_at")})
    else:
        output.note(f"Signed in at {base} as {user}, until {made.get('expires_at')}; kept in {session.config}.")


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


Check = dict[str, Any]


def _check(name: str, health: str, line: str) -> Check:
    return {"name": name, "health": health, "line": line}


def _checks(session: Session) -> list[Check]:
    good = sys.version_info[:2] >= _OLDEST
    found = [_check("python", "ok" if good else "bad", f"Python {platform.python_version()}, 3.11 or newer is needed")]
    warning = contexts.too_open(session.config)
    try:
        chosen = contexts.choose(session.context_name, session.environ, session.config)
    except Trouble as e:
        return [*found, _check("context", "bad", f"{e} - {e.hint}")]
    found.append(_check("context", "warn" if warning else "ok", warning or f"{chosen.name}: {chosen.url}"))
    if not chosen.token:
        return [*found, _check("token", "bad", f"none for {chosen.url}; sign in with `educloud login {chosen.url}`")]
    return [*found, *_cloud_checks(session)]


def _cloud_checks(session: Session) -> list[Check]:
    from deploy.cli import api

    try:
        answer = session.api.get(api.path("status"))
    except Trouble as e:
        return [_check("cloud", "bad", f"{e} - {e.hint}")]
    bad = [p for p in answer.get("parts") or [] if p.get("health") != "ok"]
    found = [_check("cloud", str(answer.get("health")), f"it answers; {len(answer.get('hosts') or [])} hosts")]
    return found + [_check(str(p.get("name")), str(p.get("health")), str(p.get("line"))) for p in bad]


def _host_checks() -> list[Check]:
    """What the machine's own examination says, when this installation has one: ``deploy.doctor.checks()``."""
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec("deploy.doctor") is None:
        return []
    checks = getattr(import_module("deploy.doctor"), "checks", None)
    return [dict(c) for c in checks()] if checks else []


def doctor(session: Session) -> None:
    """Look for what is wrong on this machine and with the chosen cloud; exit code 1 when something is."""
    found = [*_checks(session), *_host_checks()]
    worst = next((h for h in ("bad", "warn") if any(c["health"] == h for c in found)), "ok")
    if session.json:
        output.document({"health": worst, "checks": found})
    else:
        output.table(("check", "health", ""), [(c["name"], c["health"], c["line"]) for c in found])
    if worst == "bad":
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Give ``app`` the verbs that stand alone."""
    for name, work in (("status", status), ("login", login), ("explain", explain), ("doctor", doctor), ("version", version)):
        verb(app, name)(work)
