"""Where one image is built: alone, beside its place, and moved there whole; nothing is done twice for the same inputs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from luhyaapi import clock
from luhyaapi.errors import Failed, Unavailable

_STAMP = "built.json"


@dataclass(frozen=True)
class Built:
    """A finished image: its files by part (``kernel``, ``initrd``, ``disk``), all below ``folder``.

    ``cmdline`` is the recommended kernel command line ("" for a disk that boots by itself), ``inputs`` the digest
    of all that went in, ``fresh`` whether it was built just now, ``took_s`` how long that was, in seconds.
    """

    name: str
    folder: Path
    files: Mapping[str, Path]
    cmdline: str
    inputs: str
    fresh: bool
    took_s: float


@dataclass(frozen=True)
class Recipe:
    """What an image is made of: our own scripts, and versions by package, asked for only when needed."""

    name: str
    parts: Mapping[str, str]
    cmdline: str
    scripts: str
    versions: Callable[[], Mapping[str, str]]


def scripts_digest(*tops: Path) -> str:
    """One digest over the names and bytes of all files below the given folders or files."""
    total = hashlib.sha256()
    for top in tops:
        for file in sorted(f for f in ([top] if top.is_file() else top.rglob("*")) if f.is_file()):
            if "__pycache__" in file.parts:
                continue
            name = file.relative_to(top.parent).as_posix()
            data = file.read_bytes()
            total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def make(recipe: Recipe, out: Path, work: Path, fill: Callable[[Path, Path], None]) -> Built:
    """The image of ``recipe`` below ``out``; ``fill(folder, scratch)`` is called only when its inputs changed.

    An image that is there stays when apt knows nothing (offline, lists removed) and the scripts are the same.
    Raises what ``fill`` and the versions raise, Unavailable(busy) while another build of it runs; then the
    old image, if any, is untouched and no half file stays.
    """
    started = clock.monotonic()
    final = out / recipe.name
    with _alone(recipe.name, out, work) as scratch:
        stamp = _read(final, recipe)
        try:
            versions = dict(recipe.versions())
        except Failed:
            if stamp and stamp.get("scripts") == recipe.scripts:
                return _built(recipe, final, str(stamp["inputs"]), fresh=False, took_s=clock.monotonic() - started)
            raise
        inputs = hashlib.sha256(json.dumps([recipe.scripts, versions], sort_keys=True).encode()).hexdigest()
        if stamp and stamp.get("inputs") == inputs:
            return _built(recipe, final, inputs, fresh=False, took_s=clock.monotonic() - started)
        new = out / f".{recipe.name}.new"
        new.mkdir()
        fill(new, scratch)
        told = {"inputs": inputs, "scripts": recipe.scripts, "packages": versions}
        (new / _STAMP).write_text(json.dumps(told, indent=1) + "\n")
        _swap(new, final)
        return _built(recipe, final, inputs, fresh=True, took_s=clock.monotonic() - started)


@contextlib.contextmanager
def _alone(name: str, out: Path, work: Path) -> Iterator[Path]:
    """A scratch folder that is empty at the start and gone at the end, for one builder at a time."""
    scratch = work / name
    leftovers = (scratch, out / f".{name}.new", out / f".{name}.old")
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    with (out / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise Unavailable("busy", f"The image {name} is being built already") from e
        try:
            for path in leftovers:
                shutil.rmtree(path, ignore_errors=True)
            scratch.mkdir()
            yield scratch
        finally:
            for path in leftovers:
                shutil.rmtree(path, ignore_errors=True)


def _read(final: Path, recipe: Recipe) -> dict[str, object]:
    """The stamp of a complete image, else nothing."""
    try:
        told = json.loads((final / _STAMP).read_text())
    except (OSError, ValueError):
        return {}
    whole = isinstance(told, dict) and "inputs" in told and all((final / f).is_file() for f in recipe.parts.values())
    return dict(told) if whole else {}


def _swap(new: Path, final: Path) -> None:
    old = new.with_suffix(".old")
    if final.exists():
        final.rename(old)
    new.rename(final)


def _built(recipe: Recipe, folder: Path, inputs: str, *, fresh: bool, took_s: float) -> Built:
    files = {part: folder / file for part, file in recipe.parts.items()}
    return Built(recipe.name, folder, files, recipe.cmdline, inputs, fresh, took_s)
