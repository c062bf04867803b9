"""Outside programs that read what strangers made: what takes such a program over finds no file, no network and nobody."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luhyaapi import process
from luhyaapi.errors import Failed, Trouble

_MIB = 1024 * 1024
_PRINTED_AT_MOST = _MIB
_NOBODY = "65534"
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_WALLS = (
    "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--disable-userns",
    "--uid", _NOBODY, "--gid", _NOBODY, "--cap-drop", "ALL", "--die-with-parent", "--clearenv",
)
_PACKAGES = {"bwrap": "bubblewrap", "prlimit": "util-linux", "qemu-img": "qemu-utils"}
# What bubblewrap says when it is the kernel that does not let it make namespaces.
_KERNEL = ("namespace", "uid map", "gid map", "setgroups", "max_user_namespaces", "NETLINK", "loopback")


@dataclass(frozen=True)
class Limits:
    """What an enclosed program may use: seconds of a processor, bytes of address space and of each file, numbers, seconds to its end."""

    cpu_s: int = 30
    memory: int = 2048 * _MIB
    file_size: int = _MIB
    files: int = 64
    processes: int = 128  # qemu-img has up to 64 threads for files that are slow
    deadline_s: float = 600.0


def run(
    argv: Sequence[str],
    *,
    readable: Mapping[str, Path],
    writable: Mapping[str, Path],
    limits: Limits,
    check: bool = True,
    cancelled: Callable[[], bool] | None = None,
) -> process.Finished:
    """Run a program to its end behind walls.

    It sees itself, the system's libraries, the ``readable`` files and folders and the ``writable`` ones, each under the
    absolute path that is its key; nothing else can be read or written, there is no network, no other process, no /proc and
    no device. Inside it is nobody without rights, outside it counts as our own account. It ends with us. At a limit
    the call that goes beyond fails, or the program is ended; then the exit code is 128 and the signal, SIGXCPU for its time.
    It can print 1 MiB to each output.

    Raises Failed(missing) with the package to install, Failed(program) when the kernel does not let a program be enclosed,
    Failed(timeout), Refused(cancelled), and with ``check`` Failed(program) on a non-zero exit.
    """
    program = _found(argv[0])
    walls = [
        *_WALLS, *_environment(), *_libraries(), *_own(program), *_own(_found("prlimit")),
        *_binds("--ro-bind", readable), *_binds("--bind", writable), "--remount-ro", "/", "--chdir", "/",
    ]
    try:
        done = process.run(
            [_found("bwrap"), *walls, "--", *_limited(limits), program, *argv[1:]],
            timeout_s=limits.deadline_s, check=False, cancelled=cancelled, printed_at_most=_PRINTED_AT_MOST,
        )
    except Trouble as e:
        if e.code in ("timeout", "cancelled"):  # it is not the walls that were late
            raise type(e)(e.code, e.what.replace("bwrap", Path(program).name, 1)) from e
        raise
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.code == 1 and said.startswith("bwrap: "):
        raise _not_enclosed(said.removeprefix("bwrap: ").splitlines()[0])
    if check and done.code != 0:
        raise Failed("program", f"{Path(program).name} ended with {done.code}", said[-2000:])
    return done


def prove() -> None:
    """Enclose a program that does nothing. Raises what :func:`run` raises."""
    run(["true"], readable={}, writable={}, limits=Limits(cpu_s=5, deadline_s=20.0))


def _found(name: str) -> str:
    path = shutil.which(name, path=process.environment()["PATH"])
    if path is None:
        package = _PACKAGES.get(name)
        raise Failed(
            "missing", f"The program {name} is not there",
            f"install the Debian package {package}" if package else "it is not in the search path",
        )
    return path


def _environment() -> Iterator[str]:
    yield from ("--setenv", "MALLOC_ARENA_MAX", "2")  # each arena takes 64 MiB of the addresses, and every thread would have one
    outer = process.environment()
    for name in ("PATH", "LC_ALL", "LD_LIBRARY_PATH"):
        if name in outer:
            yield from ("--setenv", name, outer[name])


def _libraries() -> Iterator[str]:
    """The system's folders of libraries, and those of a user who unpacked programs into a folder of his own."""
    for folder in map(Path, _LIBRARIES):
        if folder.is_symlink():
            yield from ("--symlink", str(folder.readlink()), str(folder))
        elif folder.is_dir():
            yield from _own(str(folder))
    for name in process.environment().get("LD_LIBRARY_PATH", "").split(":"):
        if name.startswith("/") and Path(name).is_dir():
            yield from _own(name)


def _own(path: str) -> tuple[str, str, str]:
    return "--ro-bind", path, path


def _binds(how: str, paths: Mapping[str, Path]) -> Iterator[str]:
    for inside, outside in paths.items():
        yield from (how, str(outside.absolute()), inside)


def _limited(limits: Limits) -> list[str]:
    # Inside, since processes are counted for each user namespace: outside everything of our account would count.
    # At the second number of seconds it would be killed; at the first it is told why: SIGXCPU.
    return [
        _found("prlimit"), f"--cpu={limits.cpu_s}:{limits.cpu_s + 1}", f"--as={limits.memory}", f"--fsize={limits.file_size}", f"--nofile={limits.files}",
        f"--nproc={limits.processes}", "--core=0", "--",
    ]


def _not_enclosed(said: str) -> Failed:
    if any(word in said for word in _KERNEL):
        return Failed(
            "program", "The kernel does not let a program be enclosed", said,
            hint="Allow user namespaces to accounts without rights: look at user.max_user_namespaces, "
                 "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, and at the unit's RestrictNamespaces.",
        )
    return Failed("program", "A program could not be enclosed", said)
