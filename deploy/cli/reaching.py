"""`educloud instance console`, `tunnel` and `ssh`: into a guest, through the cloud's own doors."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import api, line, output
from deploy.cli.instances import InstanceName, app, resolve
from deploy.cli.session import Session, verb
from luhyaapi.errors import Failed, Refused

__all__ = ["app"]
Port = Annotated[int, typer.Argument(min=1, max=65535, metavar="PORT", help="TCP port of the instance.")]
_ID = re.compile(r"ins-[0-9a-f]{8}")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_LINGERS_S = 10.0


@verb(app, "console")
def console(session: Session, instance: InstanceName) -> None:
    """Open the instance's serial console here: what it wrote last, then bytes both ways. Ctrl-] ends it."""
    _not_json(session)
    ident = resolve(session, instance)
    with line.opened(session, api.path("instances", ident, "serial")) as socket:
        line.console(socket, instance)


@verb(app, "tunnel")
def tunnel(session: Session, instance: InstanceName, port: Port) -> None:
    """Join standard input and output with a TCP port of the instance; for ProxyCommand and the like."""
    _not_json(session)
    ident = resolve(session, instance)
    with line.opened(session, api.path("instances", ident, "tunnel"), {"port": port}) as socket:
        line.joined(socket, lingers_s=_LINGERS_S)


@verb(app, "rdp")
def rdp(
    session: Session,
    instance: InstanceName,
    output_file: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Where to write it; otherwise NAME.rdp here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when it is there.")] = False,
) -> None:
    """Write the file that viewers of remote desktops (RDP) open. Something must lead to port 3389: a forward, a public address, the campus."""
    made = session.api.get(api.path("instances", resolve(session, instance), "remote-desktop"))
    file = output_file or Path(Path(str(made["name"])).name)
    if file.is_dir() or (file.exists() and not force):
        raise Refused("exists", f"{file} is there already", hint="Choose another name by --output, or add --force.")
    try:
        file.write_bytes(str(made["text"]).encode())
    except OSError as e:
        raise Refused("invalid", f"{file} cannot be written", e.strerror or "") from e
    if session.json:
        output.document({"file": str(file)})
    else:
        output.line(str(file))


@verb(app, "ssh")
def ssh(
    session: Session,
    instance: InstanceName,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="What to run there; a shell when left out.")] = None,
    user: Annotated[str, typer.Option(help="Account in the instance, for example debian; otherwise as ssh chooses.")] = "",
    identity: Annotated[Path | None, typer.Option(metavar="FILE", help="Private key to sign in with.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port of its ssh server.")] = 22,
) -> None:
    """Sign in to the instance by this machine's ssh, through the cloud: no address or forwarded port of it need be reached from here."""
    _not_json(session)
    argv = ssh_words(resolve(session, instance), port, session.context_name, user=user, identity=identity, command=command or [])
    session.close()
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell: words
    except OSError as e:
        raise Failed("missing", "This machine has no ssh", e.strerror or "", hint="Install OpenSSH's client.") from e


def ssh_words(ident: str, port: int, context: str, *, user: str, identity: Path | None, command: list[str]) -> list[str]:
    """The words of the ssh call. Known hosts are kept by the instance's id: an address may be another's tomorrow.

    Raises Refused(invalid) for an id or a user that ssh or its shell could take for something else.
    """
    if not _ID.fullmatch(ident):
        raise Refused("invalid", f"{ident[:60]!r} is not the id of an instance")
    if user and not _USER.fullmatch(user):
        raise Refused("invalid", f"{user[:60]!r} cannot be a user", "letters, digits, - . and _, not first - or .")
    own = Path(sys.executable).with_name("educloud")
    call = [str(own)] if own.is_file() else [sys.executable, "-m", "deploy.cli.main"]
    call += ["instance", "tunnel", ident, str(port), *(["--context", context] if context else [])]
    # ssh gives the line to a shell, and before that puts something for each percent sign
    proxy = shlex.join(call).replace("%", "%%")
    options = [f"ProxyCommand={proxy}", f"HostKeyAlias={ident}", "CheckHostIP=no", "ServerAliveInterval=60"]
    words = ["ssh", *(word for option in options for word in ("-o", option))]
    words += ["-l", user] if user else []
    words += ["-i", str(identity)] if identity else []
    return [*words, "--", ident, *command]


def _not_json(session: Session) -> None:
    if session.json:
        raise Refused("invalid", "This has no JSON", "it moves bytes until it ends")
