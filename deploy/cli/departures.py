"""`educloud user delete`: an account, and what it owns."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, verb
from deploy.cli.users import Preview, UserName, app
from luhyaapi.errors import Refused


@verb(app, "delete")
def delete(
    session: Session, name: UserName,
    give_to: Annotated[str, typer.Option("--give-to", metavar="NAME", help="Give everything it owns to this account, in the groups it belongs to.")] = "",
    with_everything: Annotated[bool, typer.Option("--with-everything", help="Delete all it owns; the account goes when the last of it is gone.")] = False,
    override_limits: Annotated[bool, typer.Option("--override-limits", help="Give it also past the limits of who gets it (administrators).")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Keep an account that is being deleted with everything, and what is left of it.")] = False,
    preview: Preview = False, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:  # fmt: skip
    """Delete an account; without a choice only one that owns nothing. Its sessions and tokens end at once."""
    where = api.path("users", name, "departure")
    if preview:
        _show(session, session.api.get(where))
        return
    if cancel:
        answer = session.api.delete(where)
        _tell(session, answer, f"The account {name} stays.")
        return
    if give_to and with_everything:
        raise Refused("invalid", "What they own cannot be given and deleted", "give either --give-to or --with-everything")
    output.confirm(f"Deleting the account {name}{' with everything it owns' if with_everything else ''}", yes=yes, terminal=session.terminal)
    if not give_to and not with_everything:
        answer = session.api.delete(api.path("users", name)) or {"username": name, "deleted": True}
    else:
        answer = session.api.post(where, {"give_to": give_to, "with_everything": with_everything, "override_limits": override_limits})
    left = "" if answer["deleted"] else f" It goes when the last of it is gone: `educloud user delete {name} --preview` shows how far it is."
    given = f" What it owned is {answer['given_to']}'s." if answer.get("given_to") else ""
    _tell(session, answer, f"The account {name} is {'deleted' if answer['deleted'] else 'being deleted'}.{given}{left}")


def _tell(session: Session, answer: dict[str, Any], text: str) -> None:
    if session.json:
        output.document(answer)
    else:
        output.note(text)


def _show(session: Session, found: dict[str, Any]) -> None:
    if session.json:
        output.document(found)
        return
    rows = [(each["kind"], each["count"], ", ".join(each["names"]) + (", ..." if each["count"] > len(each["names"]) else "")) for each in found["owns"]]
    output.table(("kind", "count", "which"), rows)
    if found["needed_by_others"]:
        output.note(f"Others use images of it: {', '.join(found['needed_by_others'])}. They can be given, and not deleted.")
    if going := found["under_way"]:
        trouble = going["trouble"]
        waits = f"; waits: {trouble['what']}{': ' + trouble['why'] if trouble['why'] else ''}" if trouble else ""
        output.note(f"It is being deleted with everything since {going['asked_at']}, by {going['by']}{waits}.")
