"""Rows of images: packing, moving, updating, handing on, storing, starting before they are here."""

from __future__ import annotations

from collections.abc import Sequence

from bench.rows import Row

_TWO = "two threads of two cores pack; holes are never read"
_SYNCED = "ours goes through a server, is checked and synced"
_ONE_THREAD = "each block is unpacked, checked, written and synced by one thread"
_DOWN = "both are down to the cable: it alone takes 10.2 s for 119 MB"
_PLACES = "blocks have fixed places: a disk that is defragmented moves as a new one; cutting by content would cost each node the map of its overlay"
_LIST = "0.15 MB of it is the list of blocks"
_COPIED = "what is here is copied into a file of its own, checked and synced; rsync writes in place and syncs nothing"
_FASTER = "it is faster here than in the goal's measurement"
_SHARED = "near 5 s of processor a node to receive, unpack, check, write and pass on, on two cores for all; each real node has its own"
_PACK = {"450 MiB": {}, "8 GiB": {"bzip2 -3": (1 / 40, _TWO), "zstd -3": (1 / 2.5, "")}}
_UNPACK = {"450 MiB": {}, "8 GiB": {"bzip2 -3": (1 / 20, _SYNCED)}}
_PACKERS = ("zstd -3", "gzip -6", "bzip2 -3", "qemu-img convert -c")
_CURL, _BZIP, _ZSTD, _RSYNC = "curl", "curl | bzip2 -dc", "curl | zstd -dc", "rsync -S -z"
_DELIVERED: dict[str, dict[str, tuple[float, str]]] = {
    "450 MiB, 94 Mbit/s": {_CURL: (1 / 3.3, ""), _BZIP: (1 / 1.8, _DOWN)},
    "450 MiB, 940 Mbit/s": {_CURL: (1 / 2.7, _ONE_THREAD), _BZIP: (1 / 7, _ONE_THREAD)},
}
_DELIVERIES = tuple(f"{size}, {cable}" for cable in ("94 Mbit/s", "940 Mbit/s", "no limit") for size in ("450 MiB", "8 GiB"))
_NEWER: dict[tuple[str, str], tuple[float, str]] = {
    ("rsync -z", "MB"): (1.2, ""), ("rsync -z", "s"): (0.5, _COPIED), ("casync", "s"): (0.1, _FASTER), ("zsync", "s"): (0.05, _FASTER),
}
_NEWER_WHY = {
    ("10 MB changed", "rsync -z", "MB"): "blocks of 64 KiB, smaller ones cost more in all else ([ADR 0017](adr/0017-images-are-blocks.md))",
    ("a log grown", "rsync -z", "MB"): _LIST, ("a package again", "rsync -z", "MB"): _LIST,
    **{("all moved", peer, unit): _PLACES for peer in ("rsync -z", "casync", "zsync") for unit in ("s", "MB")},
}


def _named(peer: str) -> str:
    """A bar would end the cell."""
    return peer.replace(" | ", " and ")


def _packing(what: str, goals: dict[str, dict[str, tuple[float, str]]]) -> tuple[Row, ...]:
    return tuple(
        Row("pack", f"{what} {disk}", f"{what} {disk}: A, s", "lower", peer, f"{what} {disk}: B {peer}, s",
            ratio=goals[disk].get(peer, (None, ""))[0], note=goals[disk].get(peer, (None, ""))[1])
        for disk in ("450 MiB", "8 GiB") for peer in _PACKERS
    )


def _delivery(what: str, peer: str) -> Row:
    goal, why = _DELIVERED.get(what, {}).get(peer, (None, ""))
    return Row("delivery", f"{what}, to one node", f"{what}: A, s", "lower", _named(peer), f"{what}: B {peer}, s", ratio=goal, note=why)


def _update(what: str, unit: str, peer: str) -> Row:
    goal, why = _NEWER.get((peer, unit), (None, ""))
    of = {"10 MB changed": "a new version, 10 MB of 450 changed", "a log grown": "a log grown by 1 MB", "a package again": "a package installed again",
          "all moved": "all files in other places"}[what]
    return Row("update", of, f"{what}: A, {unit}", "lower", _named(peer), f"{what}: B {peer}, {unit}", ratio=goal,
               note=_NEWER_WHY.get((what, peer, unit), why))


IMAGES = (
    *_packing("pack", _PACK), *_packing("unpack", _UNPACK),
    Row("pack", "unpack 8 GiB: allocated, of what was", "unpack 8 GiB: A, allocated of what was", "lower", "no peer: it is a share", limit=1.0),
    *(_delivery(what, peer) for what in _DELIVERIES for peer in (_CURL, _BZIP, _ZSTD, _RSYNC) if (what, peer) != ("8 GiB, 94 Mbit/s", _CURL)),
    Row("delivery", "memory of a node through 8 GiB", "8 GiB, 94 Mbit/s: A, MiB of memory of the node", "lower", "no peer: curl's is near nothing",
        limit=150, unit="MiB"),
    Row("delivery", "memory of the store through 8 GiB", "94 Mbit/s: A, MiB of memory of the server", "lower", "no peer: nginx's is near nothing",
        limit=150, unit="MiB"),
    *(_update(what, unit, peer) for what in ("10 MB changed", "a log grown", "a package again", "all moved")
      for peer in ("rsync -z", "casync", "zsync", "curl | zstd -dc") for unit in ("MB", "s")),
    Row("fanout", "to eight nodes at once", "8 nodes: A, s", "lower", "ours, one node", "1 node: A, s", ratio=1.1, note=_SHARED),
    Row("fanout", "to eight nodes at once", "8 nodes: A, s", "lower", "eight times curl and zstd -dc", "8 nodes: B curl | zstd -dc, s", ratio=1 / 7,
        note=_SHARED),
    Row("fanout", "to eight nodes: copies the cluster sends", "8 nodes: A, copies sent", "lower", "no peer: eight downloads are eight copies", limit=1.2),
    Row("fanout", "to eight nodes, one in the middle killed", "8 nodes, the fourth killed: A, s", "lower", "ours, undisturbed", "8 nodes: A, s",
        note="seven have it"),
    Row("lazy", "a first start where the image is not, 94 Mbit/s: to systemd's first word", "lazy: marker s", "lower", "image here", "local: marker s",
        ratio=1.15, unit="s", note="the cable alone takes 2.3 s for the 27 MB: GRUB reads kernel and initrd from the disk, in blocks of 64 KiB"),
    Row("lazy", "the same", "lazy: marker s", "lower", "fetched whole first", "whole: marker s", ratio=1 / 3.5, unit="s",
        note="the boot itself is the larger half"),
    Row("lazy", "the same: bytes", "lazy: marker MB", "lower", "fetched whole first", "whole: marker MB", ratio=0.05, unit="MB",
        note="blocks of 64 KiB around what is read, and the whole is little: 136 MB"),
    Row("store", "download as a plain file, loopback", "download: A, MB/s", "higher", "nginx, a plain file", "download: B nginx, MB/s", ratio=0.9,
        note="it is put together from packed blocks; nodes do not take this way"),
    Row("store", "upload in pieces", "upload: A, MB/s", "higher", "cp and sync", "upload: B cp and sync, MB/s", ratio=0.5),
    Row("store", "upload in pieces", "upload: A, MB/s", "higher", "Django's multipart reader, without a network", "upload: B multipart, MB/s", ratio=3,
        note="it hashes, packs and syncs"),
    Row("store", "names of blocks", "names: A, MB/s", "higher", "b3sum, one thread", "names: B b3sum --num-threads 1, MB/s", ratio=0.8),
    Row("store", "names of blocks", "names: A, MB/s", "higher", "openssl sha256", "names: B openssl sha256, MB/s", ratio=2.5,
        note="this processor has instructions for SHA-256"),
    Row("store", "names of blocks", "names: A, MB/s", "higher", "sha256sum", "names: B sha256sum, MB/s", ratio=8),
    Row("store", "a disk on an image that is here", "a disk of an image that is here: A, ms", "lower", "cp --sparse",
        "a disk of an image that is here: B cp --sparse=always, ms", limit=5, ratio=1 / 25, note="most of it is the start of qemu-img, which is not replaced"),
    Row("store", "the same", "a disk of an image that is here: A, ms", "lower", "qemu-img create", "a disk of an image that is here: B qemu-img create, ms"),
)
TABLES: dict[str, Sequence[Row]] = {"images": IMAGES}
