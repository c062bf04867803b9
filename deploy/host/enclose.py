"""Become one program of this cloud: end its predecessor, take its mounts, account, environment and log, then be it."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV, _MS_MOVE = 4096, 16384, 1 << 18, 2, 4, 8192
_PR_SET_NO_NEW_PRIVS = 38
_KVM = "/dev/kvm"
_STAGE = Path("/mnt")
_GRACE_S = {"broker": 30.0, "supervisor": 60.0}


def main(argv: list[str]) -> None:
    """``enclose FILE``: be the program. ``enclose FILE -- ARG...``: run other words in the same enclosure, once, on our own output."""
    spec = json.loads(Path(argv[0]).read_text("utf-8"))
    once = argv[2:] if argv[1:2] == ["--"] else []
    if not once:
        end_left(spec["home"], spec["program"], spec["keep"])
    isolate(spec)
    drop(spec["user"])
    os.umask(0o022 if spec["user"] == "root" else 0o027)
    if not once:
        _redirect(Path(spec["log"]))
    os.chdir(spec["cwd"])
    words = once or spec["argv"]
    # Under a name of its own: the program itself, starting at this moment, would take it for a predecessor and end it.
    environ = spec["environ"] | ({"EDUCLOUD_PROGRAM": "once"} if once else {})
    os.execve(words[0], words, environ)  # noqa: S606 - this is the purpose


def ours(home: str, program: str | None = None) -> dict[int, str]:
    """Processes marked as this cloud's (or one program's) by their environment: number to program."""
    found = {}
    want = f"EDUCLOUD_HOME={home}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if want not in words:
            continue
        name = next((w[17:].decode("utf-8", "replace") for w in words if w.startswith(b"EDUCLOUD_PROGRAM=")), "")
        if name and program in (None, name) and not _zombie(entry):
            found[int(entry.name)] = name
    return found


def command(pid: int) -> str:
    """The short name of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def end_left(home: str, program: str, keep: list[str]) -> None:
    """End what is left of a program of that cloud, but for the commands to ``keep``, e.g. after the supervisor's own death."""
    left = [pid for pid in ours(home, program) if command(pid) not in keep]
    if not left:
        return
    from luhyaapi import process  # only here: every start would pay for it

    for pid in left:
        process.end(pid, _GRACE_S.get(program, 15.0))


def isolate(spec: dict[str, Any]) -> None:
    """Own mounts, if the program wants any: ways through closed folders, binds, and /dev/kvm closed until a proof passed."""
    if not spec["user"]:
        return  # no account of its own, so nothing is closed to it, and mounts take root
    proof = spec["hide_kvm_unless"]
    hide_kvm = bool(proof) and Path(_KVM).exists() and not proved(Path(proof))
    ways = closed([Path(path) for path in spec["needs"]], spec.get("reach_as", spec["user"]))
    if not (spec["binds"] or hide_kvm or ways):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS), "unshare")
    _mount(libc, "none", "/", _MS_REC | _MS_PRIVATE)
    if ways:
        _open_ways(libc, ways)
    for source, target in spec["binds"]:
        _mount(libc, source, target, _MS_BIND)
    if hide_kvm:
        # A plain file that the guests' account may not read: to libvirt the device is there for nobody. If it only could
        # not be opened, libvirt would ask QEMU again what it can do at every start of a guest, for ten seconds each.
        wall = Path(spec["home"]) / "supervisor" / "no-kvm"
        wall.touch(mode=0o000)
        _mount(libc, str(wall), _KVM, _MS_BIND)


def closed(needs: list[Path], user: str) -> dict[Path, Path]:
    """Which of the folders the account cannot reach, each with the topmost folder that is in its way, e.g. /root."""
    account = pwd.getpwnam(user)
    found: dict[Path, Path] = {}
    for path in sorted(set(needs)):
        above = next((step for step in reversed(path.parents) if not _enterable(step, account)), None)
        if above and not any(path.is_relative_to(other) for other in found):
            found[path] = above
    return found


def _enterable(folder: Path, account: pwd.struct_passwd) -> bool:
    seen = folder.stat()
    bit = 0o100 if seen.st_uid == account.pw_uid else 0o010 if seen.st_gid == account.pw_gid else 0o001
    return account.pw_uid == 0 or bool(seen.st_mode & bit)


def _open_ways(libc: ctypes.CDLL, ways: dict[Path, Path]) -> None:
    # An empty folder takes the place of the closed one, and in it, at their own paths, stands only what the program needs.
    _tmpfs(libc, _STAGE)
    stages = {path: _STAGE / str(number) for number, path in enumerate(ways)}
    for path, stage in stages.items():
        stage.mkdir()
        _mount(libc, str(path), str(stage), _MS_BIND | _MS_REC)
    for folder in sorted(set(ways.values())):
        _tmpfs(libc, folder)
    for path, stage in stages.items():
        path.mkdir(parents=True, exist_ok=True)
        _mount(libc, str(stage), str(path), _MS_MOVE)
    _check(libc.umount(str(_STAGE).encode()), "umount")


def proved(verdict: Path) -> bool:
    """Whether the node's proof, in this boot, found hardware acceleration usable."""
    try:
        said = json.loads(verdict.read_text("utf-8"))
        return bool(said["accelerator"] == "kvm" and said["key"]["boot"] == boot_id())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def boot_id() -> str:
    """What the kernel calls the machine's present boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def drop(user: str) -> None:
    """Take the account of the program for good; empty: our own stays."""
    if user in ("", "root"):
        return
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    _check(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _redirect(log: Path) -> None:
    # After the account was taken: whoever owns the folder cannot make root write elsewhere.
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)


def _zombie(entry: Path) -> bool:
    try:
        return (entry / "stat").read_text("ascii", "replace").rsplit(")", 1)[-1].split()[0] in ("Z", "X")
    except OSError:
        return True


def _mount(libc: ctypes.CDLL, source: str, target: str, flags: int) -> None:
    _check(libc.mount(source.encode(), target.encode(), None, flags, None), f"mount {source} on {target}")


def _tmpfs(libc: ctypes.CDLL, folder: Path) -> None:
    where = str(folder).encode()
    _check(libc.mount(b"none", where, b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0755,size=1m"), f"an empty folder on {folder}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
