"""Folders, secrets and configuration files of one cloud on disk: made once, owned by their program, never made anew."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.host import configs, enclose
from deploy.host.plan import ACTING, ALL_ROLES, Plan
from deploy.host.profiles import MARK
from luhyaapi import clock
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.wire import identity

_TOKEN_FRESH_S = 300
_PARTS = ("luhyaapi", "luhyadb", "clc", "walrus", "cc", "nc", "sc", "deploy")
_KEEPER = "deploy/host/keeper.py"
_SECRETS = (("clc", "broker-password"), ("cc", "broker-password"), ("clc", "session-secret"))


@dataclass(frozen=True)
class Owner:
    """An account's numbers."""

    uid: int
    gid: int


def owner(user: str) -> Owner:
    """The numbers of an account; empty: our own. Raises Failed(missing)."""
    if not user:
        return Owner(os.geteuid(), os.getegid())
    try:
        account = pwd.getpwnam(user)
    except KeyError as e:
        raise Failed("missing", f"The account {user} is not there", "`make up` makes it, or its package does") from e
    return Owner(account.pw_uid, account.pw_gid)


@contextmanager
def alone(home: Path, patience_s: float = 900.0) -> Iterator[None]:
    """Hold this cloud's lock (the folder itself), made if missing. Raises Unavailable(busy) when another up or down holds it too long."""
    until = clock.monotonic() + patience_s
    told = False
    while True:
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        if _locked(handle):
            # A reset may have removed the folder while we waited for it: then the lock is on nothing.
            if home.exists() and os.fstat(handle).st_ino == home.stat().st_ino:
                break
            os.close(handle)
            continue
        os.close(handle)
        if clock.monotonic() >= until:
            raise Unavailable("busy", f"Another run of this cloud's up, down or reset is busy with {home}")
        if not told:
            print(f"waiting: another up, down or reset is busy with {home}", flush=True)
            told = True
        clock.sleep(0.2)
    try:
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read(path: Path) -> str | None:
    """The text of a file in a folder that another account owns; None when there is none, or a link in its place.

    Root must not follow a link there: the account could have a file of root's copied into its own.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def write(path: Path, text: str, to: Owner, mode: int = 0o600) -> bool:
    """Put a file in place at once, if it differs; whether it was written."""
    if read(path) != text:
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            os.fchown(out.fileno(), to.uid, to.gid)
            os.fchmod(out.fileno(), mode)
        part.replace(path)
        return True
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchown(handle, to.uid, to.gid)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)
    return False


def folder(path: Path, to: Owner, mode: int = 0o700) -> None:
    """A folder of that owner and mode."""
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(handle, to.uid, to.gid)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def prepare(plan: Plan, owner_of: Callable[[str], Owner] = owner) -> set[str]:
    """Everything on disk a start needs, made or completed; the programs whose configuration changed.

    ``owner_of`` says the numbers of an account. Raises Failed(missing) when there is none.
    """
    root = owner_of(plan.user("supervisor"))
    (plan.home / MARK).write_text(f"{plan.profile.name}\n", "utf-8")
    folder(plan.supervisor, root)
    write(plan.choices_file, plan.choices.text(), root)
    for program in plan.programs:
        to = owner_of(plan.user(program))
        # Guests pass through the node's folder to their own overlay and image; nothing else in it is open to them.
        folder(plan.folder(program), to, 0o711 if program == "nc" else 0o700)
        folder(plan.log(program).parent, to)
    for role in plan.roles:
        # One that is not a program of its own has had no folder yet.
        folder(plan.home / role, owner_of(plan.user(role)), 0o711 if role == "nc" else 0o700)
    if ALL_ROLES in plan.programs:
        folder(plan.databases, root)
    for role, name in _SECRETS:
        if role in plan.roles:
            _secret(plan.secret(role, name), owner_of(plan.user(role)))
    changed = _enclosures(plan, root)
    if "broker" in plan.services:
        changed |= _broker(plan, owner_of(plan.user("broker")))
    if "libvirtd" in plan.services:
        changed |= _libvirt(plan, root)
    for role in plan.roles:
        if write(plan.config(role), configs.role(plan, role), owner_of(plan.user(role))):
            changed |= set(plan.programs_of(role))
    return changed


def chosen(plan: Plan, role: str) -> dict[str, dict[str, Any]]:
    """What the operator set for a role: group to field to value. Raises Refused(invalid)."""
    file = plan.own_settings(role)
    try:
        groups = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"{file} cannot be read", str(e), hint="Correct it; nothing was changed.") from e
    return {group: fields for group, fields in groups.items() if isinstance(fields, dict)}


def _secret(path: Path, to: Owner) -> None:
    write(path, read(path) or secrets.token_urlsafe(32) + "\n", to)


def _broker(plan: Plan, to: Owner) -> set[str]:
    home = plan.home / "broker"
    folder(home / "mnesia", to)
    bosses = [role for role in ("clc", "cc") if role in plan.roles]
    passwords: dict[str, str] = {boss: (read(plan.secret(boss, "broker-password")) or "").strip() for boss in bosses}
    shown = _certificate(plan)
    cookie = home / ".erlang.cookie"
    text = read(cookie) or secrets.token_hex(20)
    wrote = [
        write(cookie, text, to, 0o400),
        write(home / "definitions.json", configs.broker_definitions(passwords), to),
        *(write(home / name, text, to) for name, text in shown.items()),
        write(home / "rabbitmq.conf", configs.broker(plan, secured=bool(shown)), to),
        write(home / "erl_inetrc", configs.names(), to),
        write(home / "enabled_plugins", "[rabbitmq_management].\n", to),
    ]
    return {"broker"} if any(wrote) else set()


def _certificate(plan: Plan) -> dict[str, str]:
    """What the broker needs to speak TLS; nothing before its boss was given a certificate, and on a host of its own."""
    files = {name: read(plan.certified / name) or "" for name in (identity.TLS_FILE, identity.TLS_KEY_FILE, identity.AUTHORITY_FILE)}
    return files if plan.secured and all(files.values()) else {}


def _libvirt(plan: Plan, root: Owner) -> set[str]:
    home = plan.hypervisor
    forget_last_boot(home / "run")
    # Open to pass through: the closed door is the folder above.
    for name in ("etc", "lib", "cache", "log/libvirt", "log/libvirt/qemu", "run", "run/libvirt", "run/lock"):
        folder(home / name, root, 0o711)
    (home / "run" / "boot-id").write_text(enclose.boot_id(), "ascii")
    where, guests = home / "etc", configs.qemu()
    if not plan.profile.is_roots:
        where, guests = plan.session_config / "libvirt", configs.qemu_session()
        folder(plan.session_config, root)
        folder(where, root)
    wrote = [write(where / "qemu.conf", guests, root), write(where / "libvirtd.conf", configs.libvirtd(), root)]
    return {"libvirtd"} if any(wrote) else set()


def forget_last_boot(run: Path) -> None:
    """Empty the folder that stands for /run when it is from an earlier boot: its process numbers belong to others now."""
    mark = run / "boot-id"
    if mark.exists() and mark.read_text("ascii") != enclose.boot_id():
        shutil.rmtree(run)


def _enclosures(plan: Plan, root: Owner) -> set[str]:
    changed = set()
    made_of = release(plan.program)
    for program in plan.programs:
        spec = configs.enclosure(plan, program)
        if program in plan.role_programs:
            spec |= {"release": made_of, "settings": _settings_of(plan, program)}
        if write(plan.supervisor / f"{program}.json", json.dumps(spec, indent=1), root):
            changed.add(program)
    # The supervisor is one of ours too; to start it anew stops everything, so only its own file counts.
    keeper = hashlib.sha256((plan.program / _KEEPER).read_bytes()).hexdigest()[:16]
    if write(plan.supervisor / "supervisord.conf", f"; {_KEEPER} {keeper}\n{configs.supervisor(plan)}", root):
        changed.add("supervisor")
    return changed


def _settings_of(plan: Plan, program: str) -> str:
    """What the operator set for the role, or roles, that a program is; another one after a change, and then it starts anew."""
    digest = hashlib.sha256()
    for role in plan.roles:
        if program in plan.programs_of(role):
            with contextlib.suppress(OSError):
                digest.update(plan.own_settings(role).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def written_since(plan: Plan, started: Mapping[str, int]) -> set[str]:
    """The programs whose files were written after they started, since an earlier run was cut in between. ``started``: second of the epoch."""
    files = {program: [plan.supervisor / f"{program}.json"] for program in plan.programs}
    for role in plan.roles:
        for program in plan.programs_of(role):
            files[program].append(plan.config(role))
    if "broker" in plan.services:
        files["broker"].append(plan.home / "broker" / "rabbitmq.conf")
    return {program for program, paths in files.items() if any(int(path.stat().st_mtime) > started.get(program, 0) for path in paths)}


def join_tokens_missing(plan: Plan) -> list[str]:
    """Acting roles that have not joined and hold no fresh token; an old one may be used up or expired."""
    missing = [role for role in ACTING if role in plan.roles and not plan.certificate(role).exists()]
    return [role for role in missing if not _is_fresh(plan.join_token(role))]


def _is_fresh(path: Path) -> bool:
    try:
        return clock.now() - path.stat().st_mtime < _TOKEN_FRESH_S
    except OSError:
        return False


def release(program: Path) -> str:
    """What the programs are made of, in a word: another one after an update, and then the roles start anew."""
    digest = hashlib.sha256()
    files = [file for part in _PARTS for file in sorted((program / part).rglob("*")) if file.suffix in (".py", ".html", ".mo", ".js", ".css")]
    for file in [*files, *program.glob("requirements.txt")]:
        seen = file.stat()
        digest.update(f"{file.relative_to(program)} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
