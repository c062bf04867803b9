"""What a guest's disk stands on, changed under it by QEMU's own monitor: libvirt has no words for it.

The overlay's node is opened again with another backing node. Its file is not touched, and names all the time what it will
stand on in the end. libvirt goes on believing what the domain was defined with, and so will the next start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import libvirt_qemu
from lxml import etree

from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Failed

RECONNECT_S = 4_000_000_000
"""An export that went away is waited for, and the guest with it, for longer than any machine runs."""
_EXPORT, _BASE = "educloud-export", "educloud-base"


def is_lazy(domain: Any) -> bool:
    """Whether it was defined on an export."""
    return _lazy_disk(domain) is not None


def on_export(domain: Any) -> None:
    """Have a domain that was defined on an export wait for that whenever it goes away: what libvirt opens gives up at once.

    For one that does not run yet; a domain on files is left alone. Raises Failed(hypervisor), libvirtError.
    """
    disk = _lazy_disk(domain)
    if disk is None or _BASE in (nodes := _nodes(domain)):
        return
    if _EXPORT not in nodes:
        socket = disk.find("backingStore/source/host").get("socket")
        _ask(domain, "blockdev-add", {
            "driver": "nbd", "node-name": _EXPORT, "read-only": True,
            "server": {"type": "unix", "path": socket}, "reconnect-delay": RECONNECT_S,
        })
    _reopen(domain, nodes, disk, _EXPORT)


def on_file(domain: Any, base: Path, base_format: DiskFormat) -> None:
    """Have a running domain that was defined on an export stand on ``base``, which holds the same. Errors as above."""
    disk = _lazy_disk(domain) if domain.isActive() else None
    if disk is None:
        return
    nodes = _nodes(domain)
    if _BASE not in nodes:
        _ask(domain, "blockdev-add", {
            "driver": str(base_format), "node-name": _BASE, "read-only": True,
            "file": {"driver": "file", "filename": str(base), "read-only": True},
        })
    _reopen(domain, nodes, disk, _BASE)
    if _EXPORT in nodes:
        _ask(domain, "blockdev-del", {"node-name": _EXPORT})


def _lazy_disk(domain: Any) -> Any:
    disks = etree.fromstring(domain.XMLDesc().encode()).iterfind("devices/disk")
    return next((d for d in disks if d.find("backingStore/source[@protocol='nbd']") is not None), None)


def _nodes(domain: Any) -> dict[str, dict[str, Any]]:
    return {node["node-name"]: node for node in _ask(domain, "query-named-block-nodes", {"flat": True})}


def _reopen(domain: Any, nodes: dict[str, dict[str, Any]], disk: Any, backing: str) -> None:
    """The disk's node as it is, on another one."""
    path = disk.find("source").get("file")
    storage = next(name for name, node in nodes.items() if node["drv"] == "file" and node["file"] == path)
    overlay = next(
        each["inserted"]["node-name"] for each in _ask(domain, "query-block", {})
        if each.get("inserted", {}).get("node-name", "") in nodes and each["inserted"]["drv"] == DiskFormat.QCOW2
    )
    options = {"driver": "qcow2", "node-name": overlay, "file": storage, "backing": backing, "discard": disk.find("driver").get("discard")}
    _ask(domain, "blockdev-reopen", {"options": [options]})


def _ask(domain: Any, command: str, arguments: dict[str, Any]) -> Any:
    said = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command, "arguments": arguments}), 0))
    if "error" in said:
        raise Failed("hypervisor", f"The disk of {domain.name()} could not be put on its image", str(said["error"].get("desc", command)))
    return said["return"]
