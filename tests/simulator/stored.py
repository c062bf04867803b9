"""What the store of images holds, read from its files without its code: packs, indexes, manifests, and what of it is wrong."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3

BLOCK, DIGEST = 64 * 1024, 32
_HEAD = struct.Struct("<BBxxII")
_TAIL = struct.Struct("<QI8s")


@dataclass
class Stored:
    """``blocks`` lie in which packs; ``packs``: which blocks lie in each; ``wrong`` in words."""

    folder: Path
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    packs: dict[str, list[bytes]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def content(self, sha256: str) -> str:
        """What is wrong with a file; empty when every block of it is there and right."""
        try:
            manifest = json.loads(json.loads((self.folder / "manifests_" / sha256).read_bytes())["manifest"])
            index = self.index(manifest["index"])
        except (OSError, ValueError, zstandard.ZstdError) as e:
            return f"its manifest or index: {type(e).__name__} {e}"
        found, size = hashlib.sha256(), manifest["size"]
        for at in range(0, size, BLOCK):
            name, length = index[at // BLOCK], min(BLOCK, size - at)
            block = bytes(length) if name == bytes(DIGEST) else self.blocks.get(name)
            if block is None:
                return f"block {at // BLOCK} is not there"
            found.update(block)
        return "" if found.hexdigest() == sha256 else f"its bytes are those of {found.hexdigest()[:12]}"

    def index(self, name: str) -> list[bytes]:
        """The digests of a file's blocks."""
        plain = zstandard.ZstdDecompressor().decompressobj().decompress((self.folder / "indexes_" / name).read_bytes())
        if blake3(plain).hexdigest() != name:
            raise ValueError(f"index {name[:12]} is another one")
        return [plain[at : at + DIGEST] for at in range(0, len(plain), DIGEST)]


def read(folder: Path) -> Stored:
    """The folder of a store's objects."""
    found = Stored(folder)
    for file in sorted((folder / "packs_").glob("*")):
        try:
            found.packs[file.name] = _pack(file.read_bytes(), found.blocks)
        except (ValueError, IndexError, struct.error, zstandard.ZstdError) as e:
            found.wrong.append(f"pack {file.name[:12]}: {type(e).__name__} {e}")
    return found


def _pack(data: bytes, into: dict[bytes, bytes]) -> list[bytes]:
    end, count, _ = _TAIL.unpack(data[-_TAIL.size :])
    at, names = 0, []
    for _ in range(count):
        blocks, kind, length, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        here = [data[n : n + DIGEST] for n in range(at, at + blocks * DIGEST, DIGEST)]
        at += blocks * DIGEST
        body = data[at : at + length]
        at += length
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(body) if kind else body
        if len(plain) != size:
            raise ValueError("a frame has another size")
        for number, name in enumerate(here):
            block = plain[number * BLOCK : (number + 1) * BLOCK]
            if blake3(block).digest() != name:
                raise ValueError(f"block {name.hex()[:12]} is another one")
            into[name] = block
        names += here
    if at != end:
        raise ValueError("its table begins elsewhere")
    return names


def picture(folder: Path, published: set[str]) -> dict[str, Any]:
    """As records have it: each published file with what is wrong with it, what else is, and packs that are mostly empty."""
    stored = read(folder)
    needed: set[bytes] = set()
    indexes = set()
    for sha256 in sorted(p.name for p in (folder / "manifests_").glob("*")):
        try:
            name = json.loads(json.loads((folder / "manifests_" / sha256).read_bytes())["manifest"])["index"]
            indexes.add(name)
            needed.update(stored.index(name))
        except (OSError, ValueError, zstandard.ZstdError) as e:
            stored.wrong.append(f"manifest {sha256[:12]}: {e}")
    empty = sorted(name for name, blocks in stored.packs.items() if 2 * len(needed & set(blocks)) < len(blocks))
    left = sorted(f.name for f in (folder / "indexes_").glob("*") if f.name not in indexes)
    return {"published": {s: stored.content(s) for s in sorted(published)}, "wrong": stored.wrong, "empty": empty, "indexes": left}
