"""`educloud second-step`: a code of an authenticator app after the password, for one's own account."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb
from luhyaapi.errors import Refused

app = noun("second-step")
PasswordOfNow = Annotated[str, typer.Option("--password-file", metavar="FILE", help="File with one's password (-: standard input).")]
_AT = ("users", "me", "second-step")


@verb(app, "show")
def show(session: Session) -> None:
    """Show whether signing in needs a code, and how many recovery codes are left."""
    found = session.api.get(api.path(*_AT))
    if session.json:
        output.document(found)
    else:
        output.fields(found)


@verb(app, "on")
def turn_on(
    session: Session, password_file: PasswordOfNow = "",
    code: Annotated[str, typer.Option(help="A code of the app, for a secret that was begun before.")] = "",
) -> None:
    """Begin to turn it on, and turn it on by the first code of the app: asked for, or given by a second call with --code.

    The recovery codes are shown this once.
    """
    if not code:
        made = session.api.post(api.path(*_AT), _proof(session, password_file))
        if session.json:
            output.document({k: v for k, v in made.items() if k != "qr"})
            return
        output.fields({k: v for k, v in made.items() if k != "qr"})
        output.note("Give the secret to an authenticator app, then the code it shows.")
        code = session.asked("Code")
        if not code:
            output.note("It is not on yet: educloud second-step on --code CODE")
            return
    _codes(session, session.api.post(api.path(*_AT, "confirm"), {"code": code}))


@verb(app, "off")
def turn_off(session: Session, password_file: PasswordOfNow = "") -> None:
    """Turn it off: the password alone signs in."""
    session.api.post(api.path(*_AT, "remove"), _proof(session, password_file))
    if session.json:
        output.document({"on": False})
    else:
        output.note("The second step is off.")


@verb(app, "recovery-codes")
def recovery_codes(session: Session, password_file: PasswordOfNow = "") -> None:
    """Make new recovery codes, shown this once; older ones are worth nothing."""
    _codes(session, session.api.post(api.path(*_AT, "recovery-codes"), _proof(session, password_file)))


def _proof(session: Session, file: str) -> dict[str, str]:
    password = session.password(file, prompt="Password")
    if not password:
        raise Refused("invalid", "The password is needed", "none was given", hint="Add --password-file FILE.")
    return {"current_password": password}


def _codes(session: Session, answer: dict[str, Any]) -> None:
    if session.json:
        output.document(answer)
        return
    output.note("The second step is on. Each of these signs in once, without the app: keep them.")
    for each in answer["recovery_codes"]:
        output.line(each)
