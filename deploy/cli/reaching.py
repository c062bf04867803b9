"""`educloud instance console`: into a guest, through the cloud's own doors."""

from __future__ import annotations

from deploy.cli import api, line
from deploy.cli.instances import InstanceName, app, resolve
from deploy.cli.session import Session, verb
from luhyaapi.errors import Refused

__all__ = ["app"]


@verb(app, "console")
def console(session: Session, instance: InstanceName) -> None:
    """Open the instance's serial console here: what it wrote last, then bytes both ways. Ctrl-] ends it."""
    _not_json(session)
    ident = resolve(session, instance)
    with line.opened(session, api.path("instances", ident, "serial")) as socket:
        line.console(socket, instance)


def _not_json(session: Session) -> None:
    if session.json:
        raise Refused("invalid", "This has no JSON", "it moves bytes until it ends")
