"""The calling user's client configuration: our one entry put in and taken out."""

from __future__ import annotations

import dataclasses
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.cli import contexts
from deploy.host.plan import Plan
from luhyaapi.errors import Refused
from luhyaapi.wire import identity


@dataclass(frozen=True)
class Caller:
    """Who called: under sudo the user behind it."""

    home: Path
    uid: int
    gid: int

    @property
    def config(self) -> Path:
        """The client's configuration file."""
        return self.home / ".config" / "educloud" / "config.toml"


def caller(environ: Mapping[str, str]) -> Caller:
    """The calling user."""
    sudo = environ.get("SUDO_USER", "")
    if os.geteuid() == 0 and sudo and sudo != "root":
        found = pwd.getpwnam(sudo)
        return Caller(Path(found.pw_dir), found.pw_uid, found.pw_gid)
    return Caller(Path(environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir), os.geteuid(), os.getegid())


def has_entry(plan: Plan, who: Caller) -> bool:
    """Whether the user's file names this cloud with a token."""
    entry = contexts.load(who.config)[1].get(plan.context)
    return bool(entry and entry.token and entry.url == plan.console.rstrip("/"))


def put_entry(plan: Plan, who: Caller, source: Path) -> None:
    """Take the entry that a file of ours holds into the user's file, 0600, others kept."""
    if source.is_symlink():
        raise Refused("invalid", f"{source} is a link", "it should be the file just made")
    current, found = contexts.load(source)
    entry = found.get(current) or next(iter(found.values()))
    made: list[Path] = [folder for folder in (who.config.parent, who.config.parent.parent) if not folder.exists()]
    authority = _authority(plan, who)
    ca_file = str(authority) if plan.secured else ""
    contexts.save(dataclasses.replace(entry, name=plan.context, url=plan.console.rstrip("/"), ca_file=ca_file), who.config)
    if plan.secured:
        authority.write_bytes((plan.certified / identity.AUTHORITY_FILE).read_bytes())
        made.append(authority)
    for path in (*made, who.config):
        os.chown(path, who.uid, who.gid)


def _authority(plan: Plan, who: Caller) -> Path:
    """The user's own copy of whom to trust: the cloud's folders are closed to them."""
    return who.config.with_name(f"{plan.context}-authority.pem")


def drop_entry(plan: Plan, who: Caller) -> None:
    """Take this cloud's entries out again, of whatever user; the file goes when there are no others."""
    current, before = contexts.load(who.config)
    found = {name: context for name, context in before.items() if context.url != plan.console.rstrip("/")}
    if found == before:
        return
    who.config.unlink()
    _authority(plan, who).unlink(missing_ok=True)
    # The last one saved becomes the current one.
    for name in sorted(found, key=lambda name: name == current):
        contexts.save(found[name], who.config)
        os.chown(who.config, who.uid, who.gid)
    if not found and not any(who.config.parent.iterdir()):
        who.config.parent.rmdir()
