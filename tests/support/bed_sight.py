"""What one sees of a bed from outside: instances as told, guests as they run, and whether all is at rest."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from deploy.testbed import description
from deploy.testbed.bed import ROOT, Bed
from luhyaapi.errors import Failed

NODES = ("node1", "node2")


@contextmanager
def five_hosts(tag: str) -> Iterator[Bed]:
    """The five hosts, up; gone at the end."""
    with built(tag, ROOT / "deploy/testbed/five.toml") as made:
        made.up()
        yield made


@contextmanager
def built(tag: str, file: Path) -> Iterator[Bed]:
    """The hosts and networks of a description, no role running; gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="edu-bed-"))
    folder.chmod(0o755)
    made = Bed(folder / "bed", description.read(file), tag, emulated=True)
    made.switch.down()
    try:
        made.build()
        yield made
    finally:
        made.destroy()
        shutil.rmtree(folder)


def soon(true: Callable[[], Any], patience_s: float = 60.0) -> Any:
    """The first true answer, or the last one at the end of patience."""
    until = time.monotonic() + patience_s
    while True:
        try:
            answer, last = true(), None
        except (Failed, ValueError) as e:
            # A client that is told to come back later says so by its exit code.
            answer, last = None, e
        if answer or time.monotonic() > until:
            assert last is None, last
            return answer
        time.sleep(0.5)


def instances(bed: Bed) -> dict[str, dict[str, Any]]:
    return {i["id"]: i for i in bed.answer("instance", "list")}  # type: ignore[attr-defined]


def hosts(bed: Bed) -> dict[str, str]:
    """State by name."""
    return {h["name"]: h["state"] for h in bed.answer("host", "list")}  # type: ignore[attr-defined]


def guests(bed: Bed) -> dict[str, list[str]]:
    """Each running guest process: instance to the nodes it runs on."""
    found: dict[str, list[str]] = {}
    for node in NODES:
        if bed.pid(node):
            try:
                names = bed.programs(node)
            except psutil.NoSuchProcess:
                continue
            for name in names:
                if name.startswith("guest "):
                    found.setdefault(name[6:], []).append(node)
    return found


def settled(bed: Bed) -> bool:
    """All at rest: every instance runs exactly once, where the cloud says, and every host is up."""
    found, where = instances(bed), guests(bed)
    names = {h["id"]: h["name"] for h in bed.answer("host", "list")}  # type: ignore[attr-defined]
    assert all(len(nodes) == 1 for nodes in where.values()), f"runs twice: {where}"
    return (
        set(hosts(bed).values()) == {"up"}
        and all(i["state"] == "running" for i in found.values())
        and {i: names[f["host"]] for i, f in found.items()} == {i: nodes[0] for i, nodes in where.items()}
    )


def asked(bed: Bed, where: str, address: str, port: int = 80, wait_s: float = 5) -> str:
    """What a guest's web server tells somebody who stands there first: its id; empty when nobody answers."""
    done = bed.run(where, ["curl", "-sS", "-m", str(wait_s), f"http://{address}:{port}/"], check=False)
    return done.text.split("\n")[0].strip()


def greeting(bed: Bed, instance: str) -> bytes:
    """The first words of a guest's display, got through the CLC as a browser gets them."""
    return bed.run(bed.front.name, [sys.executable, "-m", "tests.support.screen_greeting", instance]).stdout[:12]
