"""Who may touch which file of a guest: exact owners and modes, set before each start, so that no hypervisor sets any."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from luhyaapi.errors import Failed
from nc.drivers.base import Account

SCREEN = "vnc"
SERIAL = "tty"
FIRST_BOOT = "first"
SOCKET = "sock"
EXPORT = "image"
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def way(folder: Path, account: Account) -> None:
    """A folder of ours that guests pass through to what they know the name of; nobody else does."""
    _set(folder, os.getuid(), account.gid, 0o710)


def lent(file: Path, account: Account) -> None:
    """A file that several guests read and none may ever write: ours, also when an earlier start gave it away."""
    _set(file, os.getuid(), account.gid, 0o440)


def image(file: Path, account: Account | None) -> None:
    """A file of the cache, with the way to it."""
    if account:
        for step in (file.parent.parent, file.parent):
            way(step, account)
        lent(file, account)


def own(file: Path, account: Account, mode: int = 0o600) -> None:
    """A file of one guest."""
    _set(file, account.uid, account.gid, mode)


def log(file: Path, account: Account | None) -> Path:
    """A guest's console log, made if missing."""
    os.close(os.open(file, _LOG_FLAGS | os.O_NOFOLLOW, 0o600))
    if account:
        own(file, account)
    return file


def screen(folder: Path, account: Account | None) -> Path:
    """Where the screen of the guest with that folder, which does not run, shall listen: a folder it alone, and we, may enter."""
    close_screen(folder)
    closed = folder / SCREEN
    closed.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account:
        _set(closed, account.uid, account.gid, 0o700)
    return closed / SOCKET


def screen_of(folder: Path) -> Path:
    """The same place, as it is."""
    return folder / SCREEN / SOCKET


def serial(folder: Path) -> Path:
    """Where the serial port of the guest with that folder shall listen: a folder nobody but us enters.

    Whoever starts the guest opens the socket there and hands it over: the guest's process needs no way to it.
    """
    (folder / SERIAL).mkdir(mode=0o700, parents=True, exist_ok=True)
    return serial_of(folder)


def first_boot(folder: Path) -> Path:
    """Where the guest with that folder shall say that its first boot is done: a folder nobody but us enters."""
    (folder / FIRST_BOOT).mkdir(mode=0o700, parents=True, exist_ok=True)
    return first_boot_of(folder)


def first_boot_of(folder: Path) -> Path:
    """The same place, as it is."""
    return folder / FIRST_BOOT / SOCKET


def serial_of(folder: Path) -> Path:
    """The same place, as it is."""
    return folder / SERIAL / SOCKET


def close_screen(folder: Path) -> None:
    """Have no sockets left of a guest that does not run, and nothing else its process may have put beside its screen."""
    for closed in (folder / SCREEN, folder / SERIAL, folder / FIRST_BOOT):
        for entry in closed.iterdir() if closed.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink(missing_ok=True)


def export_of(folder: Path) -> Path:
    """The socket at which the guest with that folder reads an image that still comes; it is there as long as it may be used."""
    return folder / EXPORT


def owner_of(socket: Path) -> Account:
    """Whose it is."""
    found = socket.lstat()
    return Account(found.st_uid, found.st_gid)


def _set(path: Path, uid: int, gid: int, mode: int) -> None:
    try:
        # not followed: a guest's process writes into its own folder, and must not have us give it another file
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Failed("hypervisor", f"{path.name} could not be given to its guest", str(error)) from error
    try:
        found = os.fstat(handle)
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.fchown(handle, uid, gid)
        if stat.S_IMODE(os.fstat(handle).st_mode) != mode:
            os.fchmod(handle, mode)
    except OSError as error:
        why = f"{error.strerror}: user {uid}, group {gid}; hypervisor.guest_uid_first chooses others"
        raise Failed("hypervisor", f"{path.name} could not be given to its guest", why) from error
    finally:
        os.close(handle)
