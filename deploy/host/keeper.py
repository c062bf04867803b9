"""The supervisor: restarts what dies, reaps guests orphaned by libvirt at once, keeps logs small."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from supervisor import events, supervisord
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions

_PR_SET_CHILD_SUBREAPER = 36
_LOG_LIMIT_BYTES = 10 * 1024 * 1024
_KEPT = 2


class Keeper(supervisord.Supervisor):  # type: ignore[misc]
    """The library's supervisor, woken at once by a child's death instead of at the end of its second."""

    def runforever(self) -> None:
        """Serve until told to stop."""
        events.subscribe(events.Tick60Event, lambda _event: rotate_all(Path(os.environ["EDUCLOUD_HOME"])))
        _wake_on_signal(self.options.poller)
        super().runforever()


def _wake_on_signal(poller: Any) -> None:
    # Python resumes an interrupted poll: without a pipe that becomes readable, reaping waits up to a second.
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    poller.register_readable(read_end)
    wait = poller.poll

    def poll(timeout: float) -> tuple[list[int], list[int]]:
        readable, writable = wait(timeout)
        if read_end in readable:
            readable.remove(read_end)
            os.read(read_end, 4096)
        return readable, writable

    poller.poll = poll


def rotate_all(home: Path) -> None:
    """Shorten every log that grew past its limit, as the account that owns its folder."""
    uid, gid = os.geteuid(), os.getegid()
    for log in home.glob("*/log/*.log"):
        owner = log.parent.stat()
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        try:
            rotate(log)
        except OSError as e:
            sys.stderr.write(f"{log}: {e}\n")
        finally:
            os.seteuid(uid)
            os.setegid(gid)


def rotate(log: Path, limit_bytes: int = _LOG_LIMIT_BYTES) -> None:
    """Copy a long log aside and empty it. Its writer appends, so it goes on at the beginning."""
    if log.is_symlink() or log.stat().st_size <= limit_bytes:
        return
    for number in range(_KEPT, 1, -1):
        older = log.with_name(f"{log.name}.{number - 1}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def main(argv: list[str]) -> None:
    """``keeper CONFIGURATION``: supervise until told to stop."""
    # Whoever starts a guest must also reap it: libvirt waits for the process number to vanish.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    options = ServerOptions()
    options.realize(["-n", "-c", argv[0]])
    options.first = True
    options.test = False
    try:
        Keeper(options).main()
    except asyncore.ExitNow:
        pass
    finally:
        options.close_httpservers()
        options.close_logger()


if __name__ == "__main__":
    main(sys.argv[1:])
