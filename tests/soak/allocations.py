"""Many processes take and give back leases in one database while some of them, or the server, are killed: nothing twice, nothing leaked."""

from __future__ import annotations

import argparse
import importlib
import mmap
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.soak import tally
from tests.soak.intervals import IntervalLog, judge
from tests.soak.tally import Budget, Tally
from tests.support import private_mariadb, scratch

CLUSTER = "cc-00000001"
REST_S = 0.3
HOLD_S = 0.01
_KILL_EVERY_S = 0.25
_SWEEP_EVERY_S = 0.05
_LOST_RELEASE = 0.1
_PATIENCE_S = 60.0
_SERVER_LIVES_S = 2.0
KILLED = "server killed"
"""The point of a run whose server is killed: its deaths, and whatever goes wrong."""
"""Killed processes leave what they wrote in the kernel: waiting for a real disk would only make runs fewer."""


def prepare(folder: Path, database: str) -> None:
    """This process is a cluster's, on a database of its own."""
    import django
    from django.core.management import call_command

    for name in [n for n in os.environ if n.startswith("EDUCLOUD_")]:
        del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "deploy.settings", "EDUCLOUD_HOST__ROLE": "cc", "EDUCLOUD_HOST__STATE": str(folder),
        "EDUCLOUD_BOARD__PORT": "0",
    }
    if database != "sqlite":
        os.environ |= {"EDUCLOUD_DATABASE__URL": database, "EDUCLOUD_DATABASE__PASSWORD_FILE": str(folder / "password")}
    django.setup()
    # Loaded once here, not by each of many forked takers.
    importlib.import_module("cc.services.placements")
    call_command("migrate", verbosity=0)


class Ground:
    """What all processes of one run share: the log, the flag that ends them, the network."""

    def __init__(self, folder: Path) -> None:
        from luhyaapi.conf import Network

        self.file = folder / "intervals"
        self.log = IntervalLog(self.file)
        self.flag = mmap.mmap(-1, 1)
        self.network = Network(subnet="10.9.0.0/24", display_first=20000, display_count=250, cooldown_s=REST_S)

    @property
    def over(self) -> bool:
        """Whether everybody shall come to an end."""
        return self.flag[0] != 0


def _take(ground: Ground, instance: str) -> tuple[str, ...]:
    from cc.services import leases
    from luhyadb import memory
    from luhyadb.models import Placement

    with memory.thread_of("cc"), memory.atomic():
        (nic,), port = leases.take(CLUSTER, ground.network, instance, "lab")
        Placement.objects.create(instance=instance, node="nc-00000001", spec={}, cpus=1, memory_mib=64)
    return nic.ip, nic.mac, str(port)


def _give_back(instance: str, *, told: bool) -> None:
    """As a cluster releases; or its place is gone and the word to release was lost, which the sweep makes good."""
    from cc.services import leases
    from luhyadb import memory
    from luhyadb.models import Placement

    with memory.thread_of("cc"), memory.atomic():
        if told:
            leases.give_back(instance)
        Placement.objects.filter(pk=instance).delete()


def _holds(instance: str, ip: str, port: str) -> bool:
    from luhyadb import memory
    from luhyadb.models import AddressLease, PortLease

    with memory.thread_of("cc"):
        address = AddressLease.objects.filter(instance=instance, ip=ip).exists()
        return address and PortLease.objects.filter(instance=instance, port=int(port)).exists()


def _taker(ground: Ground, life: int, chance: random.Random) -> None:
    """Take, hold, give back, until all is over or it is killed. What is busy is tried again, as a role does with an order."""
    from luhyaapi.errors import Unavailable
    from luhyadb import memory

    for n in range(1 << 16):
        if ground.over:
            return
        instance = f"ins-{life:04x}{n:04x}"
        try:
            things = _take(ground, instance)
        except Unavailable:
            time.sleep(0.02)
            continue
        except memory.AWAY:
            again(lambda one=instance: _give_back(one, told=True))  # a server that died may have had it done
            continue
        except Exception as error:
            ground.log.write("!", instance, f"take: {type(error).__name__}: {error}".replace("\n", " "))
            continue
        ground.log.write("+", instance, *things)
        time.sleep(chance.uniform(0, 2 * HOLD_S))
        try:
            if not again(lambda one=instance, had=things: _holds(one, had[0], had[2])):
                ground.log.write("!", instance, f"lost while held: {things}")
            ground.log.write("-", instance)
            told = chance.random() > _LOST_RELEASE
            again(lambda one=instance, told=told: _give_back(one, told=told))
        except Exception as error:
            ground.log.write("!", instance, f"give back: {type(error).__name__}: {error}".replace("\n", " "))


def again(work: Callable[[], Any]) -> Any:
    """What a database that is busy does not take is tried again."""
    from luhyadb import memory

    while True:
        try:
            return work()
        except memory.AWAY:
            time.sleep(0.02)


def _swept() -> None:
    from cc.services import placements
    from luhyadb import memory

    with memory.thread_of("cc"):
        placements.sweep()


def _sweeper(ground: Ground) -> None:
    while not ground.over:
        try:
            again(_swept)
        except Exception as error:
            ground.log.write("!", "sweep", f"{type(error).__name__}: {error}".replace("\n", " "))
        time.sleep(_SWEEP_EVERY_S)


def _bury(ground: Ground, life: int) -> None:
    """What a killed taker held has no owner any more."""
    from luhyadb import memory
    from luhyadb.models import Placement

    def held() -> list[str]:
        with memory.thread_of("cc"):
            return list(Placement.objects.filter(pk__startswith=f"ins-{life:04x}").values_list("pk", flat=True))

    for instance in again(held):
        ground.log.write("-", instance)
        again(lambda one=instance: _give_back(one, told=False))


def fork(work: Any, *words: Any) -> int:
    """A process of its own that does this and ends; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work(*words)
        code = 0
    finally:
        os._exit(code)


def _drive(ground: Ground, budget: Budget, takers: int, most: int, server: private_mariadb.Server | None = None) -> tuple[int, int]:
    """Have takers at work, kill one now and then, and the server if one is given; how often each. All takers are gone at the end."""
    from django.db import connections

    connections.close_all()
    lives: dict[int, int] = {}
    born = 0

    def bear() -> None:
        nonlocal born
        born += 1
        connections.close_all()
        lives[fork(_taker, ground, born, random.Random(budget.seed * 100003 + born))] = born

    sweeper = fork(_sweeper, ground)
    for _ in range(takers):
        bear()
    killed, deaths, lives_until = 0, 0, time.monotonic() + _SERVER_LIVES_S
    try:
        while budget.left() > 0 and (not most or _lines(ground.file) < 2 * most):
            time.sleep(budget.chance.uniform(0, 2 * _KILL_EVERY_S))
            victim = budget.chance.choice(sorted(lives))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            _bury(ground, lives.pop(victim))
            killed += 1
            bear()
            if server and time.monotonic() > lives_until:
                server.kill()
                time.sleep(budget.chance.uniform(0, 0.3))
                server.start()
                deaths, lives_until = deaths + 1, time.monotonic() + budget.chance.uniform(0.5, 1.5) * _SERVER_LIVES_S
    finally:
        ground.flag[0] = 1
        wait_for([*lives, sweeper])
    # A server may still have ended a transaction of somebody who was dead when we looked.
    for life in range(born + 1):
        _bury(ground, life)
    return killed, deaths


def _lines(file: Path) -> int:
    # "+" and "-" are at most 104 bytes together; only used to stop soon after a goal
    return file.stat().st_size // 52


def wait_for(pids: list[int]) -> None:
    """Until they have ended; those that do not are killed."""
    until = time.monotonic() + _PATIENCE_S
    for pid in pids:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _leaked() -> list[str]:
    """What the raw tables still lend after a sweep, when nobody is there any more."""
    from cc.services import placements
    from luhyadb import memory
    from luhyadb.models import AddressLease, Placement, PortLease

    with memory.of("cc"):
        placements.sweep()
        return [
            *(f"address {ip} of {one}" for ip, one in AddressLease.objects.exclude(instance="").values_list("ip", "instance")),
            *(f"port {port} of {one}" for port, one in PortLease.objects.exclude(instance="").values_list("port", "instance")),
            *(f"place of {one}" for one in Placement.objects.values_list("pk", flat=True)),
        ]


def run(budget: Budget, given: argparse.Namespace) -> Tally:
    """One run on one database."""
    return on(given.database, lambda folder, url, server: _run(budget, given, folder, url, server))


def on(database: str, work: Callable[[Path, str, private_mariadb.Server | None], Tally]) -> Tally:
    """With a folder and a database that are gone afterwards; its URL, or ``sqlite``, and its server where it has one."""
    folder = scratch.folder("allocations")
    try:
        if database == "mariadb":
            with private_mariadb.server("cc") as server:
                shutil.copy(server.password, folder / "password")
                return work(folder, server.url("cc"), server)
        return work(folder, "sqlite", None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(budget: Budget, given: argparse.Namespace, folder: Path, database: str, server: private_mariadb.Server | None) -> Tally:
    prepare(folder, database)
    ground = Ground(folder)
    began = time.monotonic()
    budget.began = began
    killed, deaths = _drive(ground, budget, given.takers, given.most, server if given.kill_server else None)
    took = time.monotonic() - began
    verdict, point = judge(ground.file, REST_S), f"{given.takers} takers on {given.database}"
    found = Tally("allocations")
    found.count(point, verdict.taken)
    point = KILLED if given.kill_server else point
    if given.kill_server:
        found.count(KILLED, deaths)
    found.figures = {"per_s": verdict.taken / took, "killed": killed}
    again = f"python -m tests.soak.allocations --database {given.database} --takers {given.takers} --seconds {took:.0f} --seed {budget.seed}"
    again += " --kill-server" if given.kill_server else ""
    for what, stories in (("twice", verdict.twice), ("early", verdict.early), ("trouble", verdict.trouble), ("leaked", _leaked())):
        if stories:
            found.fail(point, f"{what} {len(stories)} times, first: {stories[0]}", again)
    return found


def arguments(parser: argparse.ArgumentParser) -> None:
    """What these kinds may be told."""
    parser.add_argument("--database", choices=("sqlite", "mariadb"), default="sqlite")
    parser.add_argument("--takers", type=int, default=32)
    parser.add_argument("--kill-server", action="store_true", help="also kill MariaDB every few seconds, and start it again")
    parser.add_argument("--most", type=int, default=0, help="end after about that many; 0: only by time")


if __name__ == "__main__":
    sys.exit(tally.program("allocations", run, arguments))
