"""Owners and modes of a guest's files; what a guest put into its own folder leads nowhere."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from luhyaapi.errors import Failed
from nc.drivers.base import Account
from nc.services import belongings

US = Account(os.getuid(), os.getgid())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_is_set_is_exact_and_set_again_is_the_same(tmp_path: Path) -> None:
    blob, disk, folder = tmp_path / "blob", tmp_path / "disk", tmp_path / "ins"
    folder.mkdir(mode=0o755)
    for file in (blob, disk):
        file.write_bytes(b"x")
        file.chmod(0o666)
    for _ in range(2):
        belongings.way(folder, US)
        belongings.lent(blob, US)
        belongings.own(disk, US)
        assert (mode(folder), mode(blob), mode(disk)) == (0o710, 0o440, 0o600)
    belongings.own(disk, US, 0o400)
    assert mode(disk) == 0o400


def test_a_log_is_made_once_and_kept(tmp_path: Path) -> None:
    log = belongings.log(tmp_path / "console.log", US)
    assert (log.read_bytes(), mode(log)) == (b"", 0o600)
    log.write_bytes(b"of the last start\n")
    assert belongings.log(log, None).read_bytes() == b"of the last start\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    aim, link = tmp_path / "aim", tmp_path / "link"
    aim.write_text("ours")
    aim.chmod(0o644)
    link.symlink_to(aim)
    with pytest.raises(Failed, match="link") as trouble:
        belongings.own(link, US)
    assert trouble.value.code == "hypervisor"
    assert mode(aim) == 0o644


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"disk\.qcow2"):
        belongings.own(tmp_path / "disk.qcow2", US)


def test_an_owner_the_host_refuses_is_said_with_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmapped(*_args: int) -> None:  # as where the host itself is a container with few numbers
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fchown", unmapped)
    (tmp_path / "disk.qcow2").touch(mode=0o600)
    with pytest.raises(Failed, match=r"disk\.qcow2") as trouble:
        belongings.own(tmp_path / "disk.qcow2", Account(1_900_008_700, 1_900_008_700))
    assert trouble.value.code == "hypervisor"
    assert "1900008700" in trouble.value.why
    assert "guest_uid_first" in trouble.value.why


def test_a_screens_folder_is_empty_at_each_start_whatever_was_left_in_it(tmp_path: Path) -> None:
    at = belongings.screen(tmp_path, US)
    assert at == belongings.screen_of(tmp_path)
    assert mode(at.parent) == 0o700
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    handle = os.open(at.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"/proc/self/fd/{handle}/{at.name}")
    os.close(handle)
    (at.parent / "folder" / "deep").mkdir(parents=True)
    (at.parent / "link").symlink_to(outside)
    (at.parent / "nowhere").symlink_to(tmp_path / "missing")
    assert belongings.screen(tmp_path, None) == at
    assert list(at.parent.iterdir()) == []
    assert (outside / "kept").read_text() == "kept"
    serial = belongings.serial(tmp_path)
    assert (serial, mode(serial.parent)) == (belongings.serial_of(tmp_path), 0o700)
    serial.write_text("left")
    belongings.close_screen(tmp_path)
    assert list(serial.parent.iterdir()) == []
    belongings.close_screen(tmp_path / "never")
