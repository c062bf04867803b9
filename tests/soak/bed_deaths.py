"""Any one process of a bed is killed while an instance starts: two minutes later it runs, or failed with a reason, and all is at rest."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.host.plan import FOLDERS
from deploy.processes import DIE_AT
from deploy.testbed import kills
from deploy.testbed.bed import Bed
from luhyaapi.errors import Failed
from tests.soak import bed_truth
from tests.support.bed_sight import NODES, asked, soon

_BROKER = ("broker", "broker epmd", "broker erl_child_setup", "broker sh")
PROCESSES = {
    "front": ("supervisor", *_BROKER, "board", "clc-web", "clc-relay", "walrus"),
    "head": ("supervisor", *_BROKER, "cc", "dnsmasq"),
    "node1": ("supervisor", "libvirtd", "nc", "guest"),
    "node2": ("supervisor", "libvirtd", "nc", "guest"),
    "store": ("supervisor", "sc"),
}
"""What runs on the five hosts while an instance starts, each as :meth:`Bed.programs` names it; ``guest``: that instance's own process."""

MOMENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "accepted": (("front",), "clc/database.sqlite-wal"),
    "ordered": (("head",), "cc/journal.sqlite-wal"),
    "placed": (NODES, "nc/journal.sqlite-wal"),
    "image": (("head", *NODES), "*/cache/parts/*.part"),
    "address": (("head",), "cc/edge/hosts/*"),
    "boot": (NODES, "nc/instances/ins-*/wanted.json"),
    "guest": (NODES, "hypervisor/run/libvirt/qemu/ins-*.pid"),
}
"""By moment of a start: on which hosts which file is written then. ``placed``: its node has the first order about it."""

_JOURNAL = ("journal: before write", "journal: before commit", "journal: after commit")
_DATABASE = ("database: before write", "database: before commit", "database: after commit")
_ORDER, _REPORT = ("order: before post", "order: confirmed"), ("report: before post", "report: confirmed")
POINTS = {
    ("front", "clc-web"): _DATABASE, ("front", "clc-relay"): (*_DATABASE, *_ORDER), ("head", "cc"): (*_JOURNAL, *_DATABASE, *_ORDER, *_REPORT),
    **{(node, "nc"): (*_JOURNAL, *_REPORT, "file: before rename", "file: after rename") for node in NODES},
}
"""Durable steps of a start, each the first of its name after the run was asked for, at which a program of ours kills itself."""

IN_S = 120.0
_ENDS = ("running", "failed")
_NEVER_S, _REFUSED_S, _LOOK_S, _IMAGE_S = 30.0, 5.0, 0.005, 120.0
_NOISE = 64 * 1024 * 1024
_HOME, _STATE = Path("/var/lib/educloud"), "files/var/lib/educloud"
_NAMED = "death-"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Death:
    """How it went. ``ended``: the instance's state then, ``refused`` when its run was never taken; ``took_s``: seconds from the kill to there."""

    host: str
    process: str
    moment: str
    instance: str
    ended: str
    took_s: float


def cases() -> list[tuple[str, str, str]]:
    """Host, process, moment: every process at every moment, a guest's own, which is there at the last alone, then; and ours at their points."""
    return [(host, process, moment) for host, processes in PROCESSES.items() for process in processes
            for moment in (("guest",) if process == "guest" else (*MOMENTS, *POINTS.get((host, process), ())))]


def point(host: str, process: str, moment: str) -> str:
    """The name it is counted under."""
    return f"{host} {process}: {moment}"


def one_death(bed: Bed, host: str, process: str, moment: str) -> Death:
    """A whole trial; afterwards nothing of it is there. Raises AssertionError with what is wrong two minutes after the kill."""
    try:
        with _only(bed, host):
            began, death = _die(bed, host, process, moment)
        if process == "supervisor":
            # Nobody restarts the one that restarts all; the instance did without it.
            bed.make(host, "up")
        bed_truth.at_rest(bed, began + IN_S, str(death))
        if death.ended == "running" and moment != "image":
            _answers(bed, death.instance, began + IN_S)
    finally:
        soon(lambda: _delete(bed), IN_S)
    bed_truth.at_rest(bed, time.monotonic() + IN_S, f"deleted after {death}")
    return death


def _die(bed: Bed, host: str, process: str, moment: str) -> tuple[float, Death]:
    name, image = f"{_NAMED}{next(_numbers)}", "tiny"
    if moment == "image":
        image = _image_nowhere(bed)
    strike = _at_moment(bed, host, process, moment) if moment in MOMENTS else _at_point(bed, host, process, moment)
    with ThreadPoolExecutor(1) as beside:
        run = beside.submit(bed.answer, "instance", "run", "--image", image, "--name", name, "--no-wait")
        came = strike()
        began = time.monotonic()
        refused, asked_s = run.exception(), time.monotonic()
    assert came, f"there was no {moment}"
    ended, instance = "", ""
    while time.monotonic() < began + IN_S and ended not in _ENDS:
        with contextlib.suppress(Failed, ValueError):
            one = next((one for one in _listed(bed) if one["name"] == name), None)
            ended, instance = (str(one["state"]), str(one["id"])) if one else ("refused" if refused else "lost", "")
            if ended == "refused" and time.monotonic() > asked_s + _REFUSED_S:
                break
        time.sleep(0.2)
    death = Death(host, process, moment, instance, ended, time.monotonic() - began)
    assert ended in (*_ENDS, "refused"), death
    return began, death


def _at_moment(bed: Bed, host: str, process: str, moment: str) -> Callable[[], bool]:
    """What waits for the moment and kills then; whether it came."""
    running, before = bed.programs(host), dict(_seen(bed, moment))

    def strike() -> bool:
        came = _soon(lambda: any(before.get(file) != at for file, at in _seen(bed, moment)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(_guest(bed, host, set(running)) if process == "guest" else running[process], signal.SIGKILL)
        return came

    return strike


def _at_point(bed: Bed, host: str, program: str, point: str) -> Callable[[], bool]:
    """What waits for the program to have killed itself at the point; whether it did. The program is started anew so that it may."""
    file, spec_file = Path(FOLDERS.get(program, program), f"die-{program}"), _HOME / "supervisor" / f"{program}.json"
    spec = json.loads(bed.run(host, ["cat", spec_file]).text)
    if spec["environ"].get(DIE_AT) != str(_HOME / file):
        spec["environ"][DIE_AT] = str(_HOME / file)
        bed.run(host, ["tee", spec_file], stdin=json.dumps(spec).encode())
        kills.kill(bed, host, program)
        bed_truth.at_rest(bed, time.monotonic() + IN_S, f"{program} of {host} started anew")
    bed.run(host, ["tee", _HOME / file], stdin=point.encode())
    outside = bed.folder / host / _STATE / file

    def strike() -> bool:
        came = _soon(lambda: not outside.exists())
        bed.run(host, ["rm", "-f", _HOME / file])
        return came

    return strike


def _guest(bed: Bed, host: str, before: set[str]) -> int:
    """The process of the guest that just starts there. Raises AssertionError when there is none."""
    found = soon(lambda: [pid for name, pid in bed.programs(host).items() if name.startswith("guest ") and name not in before], 5)
    assert found, f"no guest starts on {host}"
    return int(found[0])


def _seen(bed: Bed, moment: str) -> Iterator[tuple[Path, int]]:
    hosts, pattern = MOMENTS[moment]
    for host in hosts:
        for file in (bed.folder / host / _STATE).glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                yield file, file.stat().st_mtime_ns


def _soon(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + _NEVER_S
    while not (found := true()) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return found


@contextlib.contextmanager
def _only(bed: Bed, host: str) -> Iterator[None]:
    """What starts meanwhile starts on that node, if it is one."""
    others = [one["id"] for one in _hosts(bed) if one["role"] == "nc" and one["name"] != host] if host in NODES else []
    for other in others:
        bed.educloud("host", "drain", other)
    try:
        yield
    finally:
        for other in others:
            soon(lambda other=other: bed.educloud("host", "resume", other), IN_S)  # type: ignore[misc]


def _image_nowhere(bed: Bed) -> str:
    """An image that no cache holds, so that it is fetched: bytes without sense, which no guest starts from."""
    name = "noise"
    with contextlib.suppress(Failed):
        shown: Any = bed.answer("image", "show", name)
        for host, role in (("head", "cc"), *((node, "nc") for node in NODES)):
            bed.run(host, ["find", _HOME / role / "cache/blobs", "-name", f"{shown['versions'][0]['sha256']}*", "-delete"])
        return name
    disk = bed.folder / "noise.raw"
    disk.write_bytes(os.urandom(_NOISE))
    bed.educloud("image", "upload", str(disk), "--name", name, timeout_s=_IMAGE_S)
    return name


def _answers(bed: Bed, instance: str, until: float) -> None:
    one: Any = bed.answer("instance", "show", instance)
    assert soon(lambda: asked(bed, "head", one["nics"][0]["ip"], wait_s=2) == instance, max(until - time.monotonic(), 1)), "the guest has no address"


def _delete(bed: Bed) -> bool:
    for one in (row["id"] for row in _listed(bed) if row["name"].startswith(_NAMED)):
        bed.educloud("instance", "delete", one, "--yes", timeout_s=180)
    return True


def _listed(bed: Bed) -> list[dict[str, Any]]:
    found: Any = bed.answer("instance", "list")
    return list(found)


def _hosts(bed: Bed) -> list[dict[str, Any]]:
    found: Any = bed.answer("host", "list")
    return list(found)
