"""Which cloud the client talks to: named contexts in a file, or two environment variables."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luhyaapi.errors import Failed, Refused

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_LOGIN = "Sign in with `educloud login URL`, or set EDUCLOUD_URL and EDUCLOUD_TOKEN."


@dataclass(frozen=True)
class Context:
    """One cloud as one user. ``url`` without a trailing slash; ``token`` may be empty before the login; ``user`` when known."""

    name: str
    url: str
    token: str = field(default="", repr=False)
    ca_file: str = ""
    user: str = ""


def default_path() -> Path:
    """The client's configuration of the calling user."""
    return Path.home() / ".config" / "educloud" / "config.toml"


def checked_url(url: str) -> str:
    """``url`` without a trailing slash. Raises Refused(invalid) unless it is http(s) with a host."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or any(c.isspace() for c in url):
        raise Refused("invalid", f"{url!r} is not the address of a cloud", "it must look like http://127.0.0.1:8600")
    return url.rstrip("/")


def load(path: Path) -> tuple[str, dict[str, Context]]:
    """The current context's name and all contexts of the file; empty when there is no file. Raises Refused(invalid)."""
    try:
        form = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return "", {}
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"The configuration {path} cannot be read", str(e), hint=_LOGIN) from e
    found = form.get("contexts", {})
    if not isinstance(found, dict) or not all(isinstance(c, dict) and c.get("url") for c in found.values()):
        raise Refused("invalid", f"The configuration {path} is not valid", "each [contexts.NAME] needs a url", hint=_LOGIN)
    contexts = {
        name: Context(name, checked_url(str(c["url"])), str(c.get("token", "")), str(c.get("ca_file", "")), str(c.get("user", "")))
        for name, c in found.items()
    }
    return str(form.get("current", "")), contexts


def too_open(path: Path) -> str:
    """One line of warning when others may read the file, else nothing."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    return f"{path} may be read by others (mode {mode:04o}); run: chmod 600 {path}" if mode & 0o077 else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if not text.isprintable():
        raise Refused("invalid", "A configuration value holds control characters", repr(text)[:80])
    return f'"{escaped}"'


def save(context: Context, path: Path, *, current: bool = True) -> None:
    """Write ``context`` into the file, others kept; whole or not at all, mode 0600. With ``current`` it becomes the current one."""
    if not _NAME.fullmatch(context.name):
        raise Refused("invalid", f"{context.name!r} cannot be the name of a context", "letters, digits, - and _ only")
    before, contexts = load(path)
    contexts[context.name] = context
    lines = [f"current = {_quoted(context.name if current or not before else before)}"]
    for name in sorted(contexts):
        c = contexts[name]
        lines += ["", f"[contexts.{_quoted(name)}]", f"url = {_quoted(c.url)}", f"token = {_quoted(c.token)}"]
        lines += [f"{key} = {_quoted(value)}" for key, value in (("ca_file", c.ca_file), ("user", c.user)) if value]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    except OSError as e:
        raise Failed("program", f"{path} cannot be written", str(e), hint="Check the folder and its owner.") from e
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise


def _environment_token(environ: Mapping[str, str]) -> str:
    named = environ.get("EDUCLOUD_TOKEN_FILE", "")
    if environ.get("EDUCLOUD_TOKEN") or not named:
        return environ.get("EDUCLOUD_TOKEN", "").strip()
    return first_line(Path(named), "token")


def first_line(path: Path, what: str) -> str:
    """The first line of a secret's file. Raises Refused(invalid) when it is not there or empty."""
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"The {what} file {path} cannot be read", str(e)) from e
    line = (text.splitlines() or [""])[0].strip()
    if not line:
        raise Refused("invalid", f"The {what} file {path} is empty")
    return line


def choose(wanted: str, environ: Mapping[str, str], path: Path) -> Context:
    """The context to use: ``--context``, then EDUCLOUD_URL, then the file's current one.

    EDUCLOUD_TOKEN wins over a stored token; EDUCLOUD_URL alone takes the token of the stored context with that
    address. Raises Refused(invalid) when nothing names a cloud.
    """
    url = "" if wanted else environ.get("EDUCLOUD_URL", "")
    token = "" if wanted else _environment_token(environ)
    if url:
        base = checked_url(url)
        stored: Context | None = None
        with contextlib.suppress(Refused):
            stored = next((c for c in load(path)[1].values() if c.url == base), None)
        ca = environ.get("EDUCLOUD_CA_FILE", "") or (stored.ca_file if stored else "")
        return Context("environment", base, token or (stored.token if stored else ""), ca)
    current, contexts = load(path)
    name = wanted or current or (next(iter(contexts)) if len(contexts) == 1 else "default")
    if name not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise Refused("invalid", "No cloud is chosen", f"there is no context {name!r} in {path} (known: {known})", hint=_LOGIN)
    found = contexts[name]
    return replace(found, token=token or found.token)


def as_json(context: Context) -> dict[str, Any]:
    """What may be shown of a context: never its token."""
    return {"context": context.name, "url": context.url, "ca_file": context.ca_file or None}
