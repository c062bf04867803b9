"""The entry point of `educloud`: its verbs put together, and how each outcome becomes an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from deploy.cli import cloud, output
from deploy.cli.session import NOUNS, AsJson, InContext, Session, noun
from luhyaapi.errors import Trouble, of

if TYPE_CHECKING:
    from typer.exceptions import TyperException

USAGE_EXIT = 2
_ABOUT = "A private cloud for schools, universities and labs: its command line."


def assembled(args: Sequence[str]) -> typer.Typer:
    """The client with the nouns that ``args`` name; the others only by name, so that a call starts quickly."""
    app = typer.Typer(
        name="educloud", help=_ABOUT, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )  # fmt: skip
    app.callback()(_options)
    cloud.register(app)
    completing = "_EDUCLOUD_COMPLETE" in os.environ
    for name, (module, _) in NOUNS.items():
        app.add_typer(import_module(module).app if completing or name in args else noun(name))
    return app


def _options(ctx: typer.Context, as_json: AsJson = False, context: InContext = "") -> None:
    session = ctx.obj or Session()
    session.json = as_json
    session.context_name = context
    ctx.obj = session


def main(argv: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run one call; its exit code. Never raises: every outcome is an exit code and, if bad, an explanation on stderr."""
    session = session or Session()
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = assembled(args)(args, prog_name="educloud", standalone_mode=False, obj=session)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as e:
        return _misused(e, as_json=session.json or "--json" in args)
    except typer.Abort:
        return 130
    except (BrokenPipeError, SystemExit):
        # whoever read our output has gone; nothing more can be said there (typer exits by itself on that)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as e:
        return _explained(e, as_json=session.json)
    finally:
        session.close()


def _explained(error: Exception, *, as_json: bool) -> int:
    from deploy.cli.api import exit_of

    trouble = of(error)
    output.trouble(trouble)
    if as_json:
        output.document(output.trouble_form(trouble))
    if os.environ.get("EDUCLOUD_DEBUG") and not isinstance(error, Trouble):
        import traceback

        traceback.print_exception(error)
    return exit_of(trouble)


def _misused(error: TyperException, *, as_json: bool) -> int:
    from luhyaapi.errors import Refused

    message = error.format_message()
    context: Any = getattr(error, "ctx", None)
    if message.startswith("Usage: "):
        sys.stderr.write(message + "\n")
        message = "a verb is missing"
    where = context.command_path if context is not None else "educloud"
    trouble = Refused("invalid", "The command is not understood", message, hint=f"See `{where} --help`.")
    output.trouble(trouble)
    if as_json:
        output.document(output.trouble_form(trouble))
    return USAGE_EXIT


if __name__ == "__main__":
    sys.exit(main())


