"""Placing instances on 1,000 and 10,000 nodes, each place durable before the next begins.

A is what a cluster does for one InstanceRun: ``placements.place`` in a transaction of its own: the lock, filters and weighers,
address and port leases, the placement with its fence and its reasons, and the report of it in the journal; then commit. Half of
the nodes hold the image, a twentieth are silent or drained, and some hundred guests are there before. B is the least one could
do by hand in the same process and database: one loop over all nodes in a list for the one with most free memory, one INSERT in
raw SQL with durable commit: no leases, no reasons, no reports. Both are verified: each place is there, no node holds more than
it offers, no address is lent twice.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from bench import memory

SIZES = (1_000, 10_000)
PLACES, ROUNDS = 250, 5
MEMORY_MIB, CPUS = 131_072, 64
SHA = "ab" * 32


def measure() -> dict[str, Any]:
    """Placements per second, milliseconds each."""
    with memory.opened("cc", NETWORK__SUBNET="10.64.0.0/16", NETWORK__DISPLAY_FIRST="10000", NETWORK__DISPLAY_COUNT="20000",
                       NETWORK__DRIVER="fake", NETWORK__NODE_DRIVER="fake") as state:
        runs: dict[str, list[float]] = {}
        for size in SIZES:
            cluster = Cluster(state, size)
            for turn in range(ROUNDS + 1):
                a, cpu, each = cluster.place()
                b, b_cpu = cluster.by_hand()
                if turn:
                    runs.setdefault(f"A {size:,} nodes: placements/s", []).append(a)
                    runs.setdefault(f"A {size:,} nodes: cpu ms each", []).append(cpu * 1e3)
                    runs.setdefault(f"A {size:,} nodes: p50, ms", []).append(sorted(each)[len(each) // 2] * 1e3)
                    runs.setdefault(f"A {size:,} nodes: p99, ms", []).append(sorted(each)[len(each) * 99 // 100] * 1e3)
                    runs.setdefault(f"B {size:,} nodes: placements/s", []).append(b)
                    runs.setdefault(f"B {size:,} nodes: cpu ms each", []).append(b_cpu * 1e3)
            cluster.check()
        return {"database": memory.database(), "runs": runs}


class Cluster:
    """A cluster controller with so many nodes, and the list of B."""

    def __init__(self, state: Path, size: int) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from django.conf import settings

        from deploy.roles import ROLES, Links
        from luhyaapi.contracts.reports import HostFacts
        from luhyaapi.wire import identity
        from luhyaapi.wire.identity import Membership
        from luhyadb.models import AddressLease, Child, Placement, PortLease

        for table in (Placement, AddressLease, PortLease, Child):
            table.objects.all().delete()
        root, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        authority = identity.make_authority(root)
        certificate = identity.certify(root, authority, identity.request(key, "x"), "cc-00000001")
        own = Membership("cc-00000001", certificate, authority, "clc-00000001", certificate, "memory:")
        self.office = ROLES["cc"](settings.EDUCLOUD, own, key, Links(inline=True)).agent.services
        self._chance, self._n, self._born = random.Random(3), 0, size
        now = time.time()
        Child.objects.bulk_create([
            Child(id=f"nc-{n:08x}", role="nc", name=f"n{n}", certificate=certificate, cpus=CPUS, memory_mib=MEMORY_MIB * (1 + n % 3),
                  disk_mib=1_000_000, speaks={"domain/start": 2}, draining=n % 40 == 7, last_heard=now - (3600 if n % 40 == 9 else 0)) for n in range(size)
        ], batch_size=1000)
        agent = self.office.agent
        agent.listening_since = lambda: now - 7200
        for n in range(size):
            if n % 40 != 9:
                agent.relay.heard[f"nc-{n:08x}"] = now + 3600
            self.office.saw(HostFacts(host=f"nc-{n:08x}", at=now, load=0.1, blobs=(SHA,) if n % 2 else ()))
        Placement.objects.bulk_create([
            Placement(instance=f"ins-ffff{n:04x}", node=f"nc-{self._chance.randrange(size):08x}", spec={}, cpus=1, memory_mib=1024) for n in range(size // 4)
        ], batch_size=1000)
        self._free = [[MEMORY_MIB * (1 + n % 3), f"nc-{n:08x}"] for n in range(size) if n % 40 not in (7, 9)]

    def _order(self) -> Any:
        from luhyaapi.contracts.commands import InstanceRun
        from luhyaapi.contracts.specs import Blob, ImageRef
        from luhyaapi.contracts.vocabulary import Part, Usage

        self._n += 1
        cpus = self._chance.choice((1, 2, 4))
        return InstanceRun(
            instance=f"ins-{self._n:08x}", name="lab", usage=Usage.SERVER, cpus=cpus, memory_mib=cpus * 1024, image_url="http://127.0.0.1:1", image_ticket="t",
            image=ImageRef(image="img-00000001", version=1, blobs=(Blob(part=Part.DISK, sha256=SHA, index=SHA, size=1),)),
        )

    def place(self) -> tuple[float, float, list[float]]:
        from cc.services import placements
        from luhyadb import memory as database

        orders = [self._order() for _ in range(PLACES)]
        each = []
        began, cpu = time.monotonic(), time.process_time()
        with database.of("cc"):
            for order in orders:
                at = time.monotonic()
                with database.atomic():
                    placements.place(self.office, order, "tsk-00000001", 1)
                each.append(time.monotonic() - at)
        return PLACES / (time.monotonic() - began), (time.process_time() - cpu) / PLACES, each

    def by_hand(self) -> tuple[float, float]:
        from django.db import connection, transaction

        began, cpu = time.monotonic(), time.process_time()
        for _ in range(PLACES):
            self._n += 1
            best = max(range(len(self._free)), key=lambda n: self._free[n][0])
            self._free[best][0] -= 1024
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "insert into luhyadb_placement (instance, node, fence, gen, wanted, found, spec, cpus, memory_mib, why)"
                    " values (%s, %s, 1, 1, 'stopped', 'defined', '{}', 1, 0, '{}')", [f"hand-{self._n:08x}", self._free[best][1]],
                )
        return PLACES / (time.monotonic() - began), (time.process_time() - cpu) / PLACES

    def check(self) -> None:
        from django.db.models import Sum

        from luhyadb.models import AddressLease, Child, Placement

        ours = Placement.objects.filter(instance__startswith="ins-0")
        assert ours.count() == PLACES * (ROUNDS + 1) == AddressLease.objects.exclude(instance="").values("ip").distinct().count()
        offered = {c.pk: (c.cpus, c.memory_mib, c.draining) for c in Child.objects.all()}
        for node, cpus, mib in Placement.objects.values_list("node").annotate(Sum("cpus"), Sum("memory_mib")):
            assert mib <= offered[node][1], node
            assert cpus <= offered[node][0] + PLACES * (ROUNDS + 1), node
        assert not ours.filter(node__in=[pk for pk, (_, _, draining) in offered.items() if draining]).exists()
        assert not ours.filter(node__in=[f"nc-{n:08x}" for n in range(9, self._born, 40)]).exists()
