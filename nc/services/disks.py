"""Files of one instance: a writable overlay on a read-only base, the seed of its first boot; no copy of an image."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pycdlib

from luhyaapi import ids
from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run
from luhyaapi.transfer.sparse import sync_file, sync_folder

QEMU_IMG = "qemu-img"
TIMEOUT_S = 30.0
LOG_KEPT_BYTES = 1024 * 1024
LOG_AT_MOST_BYTES = 4 * LOG_KEPT_BYTES
KEY_TYPES = (
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
)
_KEY = re.compile(r"([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,3})(?: ([^\x00-\x1f\x7f\x85\u2028\u2029]*))?")
_LABEL = re.compile("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def overlay(
    base: Path, base_format: DiskFormat, target: Path, size_bytes: int | None = None,
    cancelled: Callable[[], bool] | None = None, *, to_come: int | None = None,
) -> Path:
    """A qcow2 file ``target`` that holds what differs from ``base``; ``size_bytes`` makes the guest's disk larger.

    ``to_come``: the base is not there yet, and will be a disk of so many bytes.

    One that is there on the same base stays as it is, with all that was written to it.
    Raises Refused(not_found) without the base, Refused(conflict) when ``target`` is something else,
    Refused(invalid) for a size below the base's, Failed(disk_full, program, missing).
    """
    if to_come is None and not base.is_file():
        raise Refused("not_found", f"The image file {base.name} is not there")
    if target.exists():
        _same_base(target, base, base_format)
        return target
    if size_bytes is not None:
        least = to_come if to_come is not None else int(_info(base, base_format)["virtual-size"])
        if size_bytes < least:
            raise Refused("invalid", f"A disk of {size_bytes} bytes is too small", f"its image needs {least}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(target)
    size_bytes = to_come if size_bytes is None else size_bytes
    size = [str(size_bytes)] if size_bytes is not None else []
    unseen = ["-u"] if to_come is not None else []
    try:
        _qemu_img("create", "-q", *unseen, "-f", "qcow2", "-F", base_format, "-b", base.absolute(), part, *size, cancelled=cancelled)
        part.chmod(0o600)
        _settle(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def system(folder: Path, number: int) -> Path:
    """The overlay that is the system disk of that number; the first one has none in its name."""
    return folder / (f"disk-{number}.qcow2" if number else "disk.qcow2")


def drop_systems(folder: Path, *, but: Path | None = None) -> None:
    """Have no system disk but that one."""
    for each in folder.glob("disk*.qcow2"):
        if each != but:
            each.unlink(missing_ok=True)


def data(target: Path, size_bytes: int) -> Path:
    """A raw disk of that size, all of it a hole; one that is there stays as it is. Raises Failed(disk_full)."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(target)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.truncate(size_bytes)
        _settle(part, target)
    except OSError as error:
        raise Failed("disk_full", "The data disk of an instance could not be made", str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _settle(part: Path, target: Path) -> None:
    """Under its name, also after a power cut."""
    sync_file(part)
    part.replace(target)
    sync_folder(target.parent)


def mapped(overlay: Path) -> list[dict[str, Any]]:
    """What lies where in an overlay, without its base: start, length, present, zero, data and offset of each extent, in order.

    Raises Failed(program | timeout).
    """
    alone = {"driver": "qcow2", "file": {"driver": "file", "filename": str(overlay.absolute())}, "backing": None}
    return list(json.loads(_qemu_img("map", "--output=json", f"json:{json.dumps(alone)}")))


_TELLS_DONE = """#!/bin/sh
# This guest's first boot is offline: when cloud-init is done its host is told, until a card has its carrier.
(
  cloud-init status --wait
  for _ in $(seq 360); do
    cat /sys/class/net/[!l]*/carrier 2>&1 | grep -qx 1 && break
    echo done > /dev/virtio-ports/org.educloud.first_boot.0
    sleep 5
  done
) > /dev/null 2>&1 &
"""


def seed_iso(path: Path, instance_id: str, hostname: str, ssh_keys: Iterable[str], user_data: str = "", *, offline: bool = False) -> Path:
    """Write the NoCloud seed cloud-init reads at first boot: instance id, host name, keys of the default user.

    With ``user_data`` that is what the guest is told, as it is, and the keys come beside it. ``offline``: it is told to say when it is done.

    Raises Refused(invalid) for a host name or a key that is none, Failed(disk_full).
    """
    if not _LABEL.fullmatch(hostname):
        raise Refused("invalid", f"{hostname!r} cannot be a host name", "1 to 63 letters, digits and inner dashes")
    keys = list(checked_keys(ssh_keys))
    meta: dict[str, Any] = {"instance-id": instance_id, "local-hostname": hostname}
    if user_data and keys:
        meta["public-keys"] = keys
    user = {
        "hostname": hostname, "users": ["default"], "ssh_authorized_keys": keys,
        "disable_root": True, "ssh_pwauth": False,
    }
    texts = {
        "meta-data": json.dumps(meta, ensure_ascii=False) + "\n",
        "user-data": user_data or "#cloud-config\n" + json.dumps(user, ensure_ascii=False) + "\n",
    }
    if offline:
        texts["vendor-data"] = _TELLS_DONE
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    try:
        _write_iso(part, {name: text.encode() for name, text in texts.items()})
        part.replace(path)
    except OSError as error:
        if error.errno == 28:
            raise Failed("disk_full", f"{path.name} could not be written", str(error)) from error
        raise
    finally:
        part.unlink(missing_ok=True)
    return path


def hostname_of(name: str, instance_id: str) -> str:
    """The host name of an instance: its name as far as a host may be called so, else its id."""
    label = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
    return label or instance_id


def checked_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """The public SSH keys, each a single line of a known type without options. Raises Refused(invalid)."""
    return tuple(_checked_key(key, number) for number, key in enumerate(keys, start=1))


def keep_logs_short(logs: Iterable[Path], at_most_bytes: int = LOG_AT_MOST_BYTES) -> int:
    """Trim every console log that grew past its limit, so that no guest fills its node's disk; how many were."""
    trimmed = 0
    for path in logs:
        try:
            if path.stat().st_size <= at_most_bytes:
                continue
        except FileNotFoundError:
            continue
        trim_log(path)
        trimmed += 1
    return trimmed


def trim_log(path: Path, keep_bytes: int = LOG_KEPT_BYTES) -> None:
    """Keep only the last ``keep_bytes`` of a console log; a guest that is writing it goes on writing at its end."""
    try:
        with path.open("r+b") as log:
            size = log.seek(0, io.SEEK_END)
            if size <= keep_bytes:
                return
            log.seek(size - keep_bytes)
            tail = log.read(keep_bytes)
            log.seek(0)
            log.write(tail)
            log.truncate()
    except FileNotFoundError:
        return


def _checked_key(key: str, number: int) -> str:
    line = key.strip(" \n")
    match = _KEY.fullmatch(line)
    if not match or match[1] not in KEY_TYPES:
        raise Refused("invalid", f"SSH key {number} is not a public key", f"one line: type, key, comment; types: {', '.join(KEY_TYPES)}")
    try:
        blob = base64.b64decode(match[2], validate=True)
        (length,) = struct.unpack_from(">I", blob)
        named = blob[4 : 4 + length].decode("ascii")
    except (ValueError, struct.error) as error:
        raise Refused("invalid", f"SSH key {number} is damaged", str(error)) from error
    if named != match[1] or len(blob) <= 4 + length:
        raise Refused("invalid", f"SSH key {number} is damaged", f"it says {match[1]} and holds something else")
    return line


def _write_iso(path: Path, files: dict[str, bytes]) -> None:
    iso: Any = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident="cidata", joliet=3, rock_ridge="1.09")
    for name, data in files.items():
        plain = name.upper().replace("-", "_")
        iso.add_fp(io.BytesIO(data), len(data), f"/{plain}.;1", rr_name=name, joliet_path=f"/{name}")
    iso.write(str(path))
    iso.close()


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{ids.secret()[:8]}.part")


def _info(path: Path, disk_format: DiskFormat) -> dict[str, Any]:
    # -U: a running guest holds the lock, and only the header is read
    return dict(json.loads(_qemu_img("info", "-U", "--output=json", "-f", disk_format, path)))


def _same_base(target: Path, base: Path, base_format: DiskFormat) -> None:
    try:
        found = _info(target, DiskFormat.QCOW2)
    except Failed as error:
        if error.code != "program":
            raise
        raise Refused("conflict", f"{target.name} is there and is no overlay", error.why) from error
    if found.get("backing-filename") != str(base.absolute()) or found.get("backing-filename-format") != base_format:
        raise Refused("conflict", f"{target.name} is there on another image", str(found.get("backing-filename", "none")))


def _qemu_img(*arguments: str | Path, cancelled: Callable[[], bool] | None = None) -> bytes:
    try:
        return run([QEMU_IMG, *arguments], timeout_s=TIMEOUT_S, cancelled=cancelled).stdout
    except Failed as error:
        if "No space left" in error.why:
            raise Failed("disk_full", "The disk of an instance could not be made", error.why) from error
        raise
