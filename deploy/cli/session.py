"""What one call of the client carries: its options, its cloud, its ways of asking."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import contexts
from luhyaapi.errors import Refused

if TYPE_CHECKING:
    import httpx

    from deploy.cli.api import Api

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
InContext = Annotated[str, typer.Option("--context", metavar="NAME", help="Which cloud of the configuration to use.")]
PasswordFile = Annotated[str, typer.Option(metavar="FILE", help="File with the password; - reads standard input.")]


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


@dataclass
class Session:
    """One call. ``transport`` replaces the network; ``config`` is the client's configuration file."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    config: Path = field(default_factory=contexts.default_path)
    transport: httpx.BaseTransport | None = None
    terminal: Callable[[], bool] = _terminal
    json: bool = False
    context_name: str = ""
    _api: Api | None = None

    @property
    def api(self) -> Api:
        """The chosen cloud, opened at first use. Raises Refused(invalid) when none is chosen."""
        if self._api is None:
            from deploy.cli import output
            from deploy.cli.api import Api

            warning = contexts.too_open(self.config)
            if warning:
                output.note(f"warning: {warning}")
            self._api = Api(contexts.choose(self.context_name, self.environ, self.config), self.transport)
        return self._api

    def close(self) -> None:
        """Give back what was opened."""
        if self._api:
            self._api.close()

    def asked(self, prompt: str) -> str:
        """What somebody types at the terminal, unseen; empty when nobody is there."""
        import getpass

        return getpass.getpass(f"{prompt}: ") if self.terminal() else ""

    def password(self, file: str, *, prompt: str, new: bool = False, variable: str = "EDUCLOUD_PASSWORD_FILE") -> str:
        """A password from ``file`` (``-``: stdin), the file a ``variable`` names, or asked for; empty when nobody can be asked.

        A ``new`` one is asked for twice. Raises Refused(invalid) when both differ or a source is empty.
        """
        named = file or self.environ.get(variable, "")
        if named == "-":
            line = sys.stdin.readline().strip()
            if not line:
                raise Refused("invalid", "No password came on standard input")
            return line
        if named:
            return contexts.first_line(Path(named), "password")
        typed = self.asked(prompt)
        if new and typed and self.asked("The same again") != typed:
            raise Refused("invalid", "The two passwords differ")
        return typed


def verb(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of (session, ...) as the verb ``name``, with the options every verb has."""

    def register(work: Callable[..., None]) -> Callable[..., None]:
        first, *own = inspect.signature(work, eval_str=True).parameters.values()

        @functools.wraps(work)
        def call(ctx: typer.Context, *, as_json: bool, context: str, **given: Any) -> None:
            session: Session = ctx.obj
            session.json = session.json or as_json
            session.context_name = context or session.context_name
            work(session, **given)

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("ctx", keyword, annotation=typer.Context),
            *(p.replace(kind=keyword) for p in own),
            inspect.Parameter("as_json", keyword, default=False, annotation=AsJson),
            inspect.Parameter("context", keyword, default="", annotation=InContext),
        ]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name)(call)
        del first
        return work

    return register


NOUNS = {
    "host": ("deploy.cli.hosts", "The cloud's hosts: list, approve, drain, remove."),
    "image": ("deploy.cli.image_care", "Images: upload, list, set, download, delete."),
    "instance": ("deploy.cli.reaching", "Virtual machines: run, stop, look, delete."),
    "workspace": ("deploy.cli.workspaces", "The next version of an image, made through a running guest."),
    "network": ("deploy.cli.networks", "Networks of clusters: make, list, give up."),
    "forward": ("deploy.cli.forwards", "Ports of instances that are reached from outside: list, add, delete."),
    "security-group": ("deploy.cli.security_groups", "Rules that several instances share: what may reach them."),
    "elastic": ("deploy.cli.elastic", "Public addresses that lead to instances."),
    "letter": ("deploy.cli.letters", "Messages that could not be handled: list, send again, drop."),
    "task": ("deploy.cli.tasks", "Long actions: look, watch, cancel, trace."),
    "audit": ("deploy.cli.audit", "Who did what: list, export, verify."),
    "user": ("deploy.cli.accounts", "Accounts: add, list, new password, deactivate, delete."),
    "directory": ("deploy.cli.directories", "Where people have an account already: LDAP, Active Directory, OpenID providers."),
    "group": ("deploy.cli.groups", "The tree that people and resources belong to: list, make, move, give up."),
    "access-role": ("deploy.cli.access_roles", "Named sets of permissions, and who has which where."),
    "quota": ("deploy.cli.quotas", "At most so much, of a group or a person."),
    "expiry": ("deploy.cli.expiry", "When machines end: of a group, by which rule."),
    "budget": ("deploy.cli.budgets", "At most so many hours in a term, of a group or a person."),
    "report": ("deploy.cli.reports", "What was used, by whom and when."),
    "permission": ("deploy.cli.permissions", "Single resources shared; who may do what, and why."),
    "second-step": ("deploy.cli.second_step", "A code after the password: show, on, off, recovery codes."),
    "token": ("deploy.cli.tokens", "API tokens: list, create, revoke."),
    "admin": ("deploy.cli.administrator", "One's own account."),
}


def noun(name: str) -> typer.Typer:
    """An empty group of verbs."""
    return typer.Typer(name=name, help=NOUNS[name][1], no_args_is_help=True, rich_markup_mode=None)
