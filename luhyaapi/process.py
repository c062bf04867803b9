"""The only door to outside programs and to loops: bounded, cancellable, logged."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from luhyaapi import clock, log
from luhyaapi.errors import Failed, Refused, Trouble, of

_log = log.get(__name__)
_KEEP = 64 * 1024
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "APT_CONFIG")


@dataclass(frozen=True)
class Finished:
    """How a program ended: exit code and what it printed (at most 64 KiB of each in errors, all here)."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    check: bool = True,
    cancelled: Callable[[], bool] | None = None,
    printed_at_most: int = 0,
) -> Finished:
    """Run a program to its end, never through a shell.

    ``printed_at_most`` bounds the bytes of each of its outputs, for one that may be hostile: to it further writes fail.
    ``env`` is added to a minimal environment. Raises Failed(missing) when the program is not there,
    Failed(timeout), Refused(cancelled), and with ``check`` Failed(program) on a non-zero exit. What ``cancelled`` raises
    ends the program too.
    """
    args = [str(a) for a in argv]
    name = Path(args[0]).name
    with contextlib.ExitStack() as opened:
        bounded = [opened.enter_context(_Bounded(printed_at_most)) for _ in range(2)] if printed_at_most else []
        child = _started(args, cwd, env, *(each.fd for each in bounded))
        out, err = _ended(child, name, timeout_s, stdin, cancelled)
        out, err = (each.text() for each in bounded) if bounded else (out, err)
    _log.debug("program ended", program=name, code=child.returncode)
    if check and child.returncode != 0:
        tail = (err or out)[-_KEEP:].decode("utf-8", "replace").strip()
        raise Failed("program", f"{name} ended with {child.returncode}", tail)
    return Finished(child.returncode, out, err)


class _Bounded:
    """An output in memory that the kernel does not let grow beyond its size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.fd = -1

    def __enter__(self) -> Self:
        self.fd = os.memfd_create("output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self._size)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.fd)

    def text(self) -> bytes:
        """What was printed: its end is where the program's place in the file is, which is ours too."""
        return os.pread(self.fd, min(os.lseek(self.fd, 0, os.SEEK_CUR), self._size), 0)


def _started(
    args: list[str], cwd: Path | None, env: Mapping[str, str] | None, out: int = subprocess.PIPE, err: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    name = Path(args[0]).name
    try:
        return subprocess.Popen(
            args, cwd=cwd, env=environment(env), stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as e:
        raise Failed("missing", f"The program {name} is not there", str(e)) from e
    except OSError as e:
        raise Failed("program", f"The program {name} cannot be started", str(e)) from e


def _ended(
    child: subprocess.Popen[bytes], name: str, timeout_s: float, stdin: bytes, cancelled: Callable[[], bool] | None
) -> tuple[bytes, bytes]:
    until = clock.monotonic() + timeout_s
    data: bytes | None = stdin
    while True:
        try:
            return child.communicate(data, timeout=0.25 if cancelled else max(until - clock.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            data = None
            try:
                stop = bool(cancelled and cancelled())
            except BaseException:
                _end_group(child)
                raise
            if stop or clock.monotonic() >= until:
                _end_group(child)
                if stop:
                    raise Refused("cancelled", f"{name} was cancelled") from None
                raise Failed("timeout", f"{name} did not end in {timeout_s:.0f} s", _last_words(child)) from None


def _last_words(child: subprocess.Popen[bytes]) -> str:
    """What a program that was ended had said of itself; nothing when somebody else holds its output open."""
    try:
        _, err = child.communicate(timeout=1)
    except (subprocess.TimeoutExpired, ValueError):
        return ""
    return (err or b"")[-_KEEP:].decode("utf-8", "replace").strip()


def spawn(argv: Sequence[str | Path], *, output: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
    """Start a program that outlives us, in a session of its own; its output is appended to a file. Returns its pid."""
    with output.open("ab") as out:
        child = subprocess.Popen(
            [str(a) for a in argv], cwd=cwd, env=environment(env), stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, start_new_session=True,
        )
    return child.pid


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The small environment outside programs get: search paths, home, plain language, and ``extra``."""
    keep = {k: v for k, v in os.environ.items() if k in _PASSED_ON}
    keep.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return {**keep, "LC_ALL": "C.UTF-8", **(extra or {})}


def alive(pid: int) -> bool:
    """Whether a process of that number runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    return stat.rsplit(")", 1)[-1].split()[0] not in ("Z", "X")


def end(pid: int, grace_s: float = 5.0) -> bool:
    """Ask a process to end, then make it. Whether it is gone. Only for processes we started."""
    for sig, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            return True
        until = clock.monotonic() + patience
        while clock.monotonic() < until:
            _reap(pid)
            if not alive(pid):
                return True
            clock.sleep(0.02)
    return not alive(pid)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _end_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()  # not read to its end: a grandchild that left the group may hold it open for ever


class Loop:
    """Calls ``step()`` every ``every_s`` seconds, at once when woken, until stopped; a failing step is logged, never fatal."""

    def __init__(self, name: str, step: Callable[[], object], every_s: float) -> None:
        self.name = name
        self._step = step
        self._every_s = every_s
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> Loop:
        """Begin in a thread of its own."""
        self._thread.start()
        return self

    def wake(self) -> None:
        """Do the next step now."""
        self._wake.set()

    def stop(self, patience_s: float = 5.0) -> None:
        """Let the current step end, then no more."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(patience_s)

    def _run(self) -> None:
        told = ""
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._step()
                told = ""
            except Exception as error:
                told = self._tell(of(error), error, told)
            clock.wait(self._wake, self._every_s)

    def _tell(self, trouble: Trouble, error: Exception, told: str) -> str:
        """The same trouble again and again is one line."""
        if trouble.code != told:
            _log.warning("step failed", loop=self.name, code=trouble.code, why=str(error), exc_info=trouble.code == "bug")
        return trouble.code
