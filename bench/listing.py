"""Lists of 100,000 instances: the API through the whole application in this process, every layer and the token included.

A asks the addresses a client asks. B is a plain DRF ``ModelSerializer`` view over the same table in the same application, with
the same layers, token and permission scope; and awk over a text file of the same instances. The administrator sees 100,000,
a user 1,000 of them. Answers are compared: as many rows as asked for, the same ids as B's, awk's counts.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import memory

COUNT, OWNED, ROUNDS = 100_000, 1_000, 5
STATES = ("running",) * 7 + ("stopped",) * 2 + ("failed",)
API = "/api/v1/instances/"


def measure() -> dict[str, Any]:
    """Milliseconds of one request, medians of each round."""
    with memory.opened("clc", HOST__ADDRESS="testserver") as state:
        from clc.services import own

        own.make(state)
        return Listing(state).measure()


class Listing:
    """The rows, the application, the file of awk."""

    def __init__(self, state: Path) -> None:
        from django.conf import settings
        from django.test import Client

        from clc.services import hosts, people, tokens

        settings.ALLOWED_HOSTS.append("testserver")
        settings.WHITENOISE_AUTOREFRESH = False
        (state / "static").mkdir()
        hosts.ensure_own("clc")
        self.admin = people.add(None, "admin", "quiet-river-9041", "superAdm")
        self.user = people.add(None, "ada", "quiet-river-9042")
        self.file = state / "instances.txt"
        self._fill()
        settings.ROOT_URLCONF = "bench.listing_peer"
        self.client = Client()
        self.headers = {a.username: {"Authorization": f"Bearer {tokens.signed_in(a)[1]}"} for a in (self.admin, self.user)}
        self.console = Client()
        self.console.force_login(self.admin)

    def _fill(self) -> None:
        from luhyadb.models import Account, Host, Image, ImageVersion, Instance

        chance, now = random.Random(5), time.time()
        other = Account.objects.create(username="bob")
        image = Image.objects.create(id="img-00000001", name="lab", owner=self.admin, created_at=now)
        version = ImageVersion.objects.create(image=image, version=1, state="published", blobs=[], created_at=now)
        Host.objects.bulk_create([Host(id=f"nc-{n:08x}", role="nc", name=f"node{n}", state="up", request=None) for n in range(200)])
        rows = []
        with self.file.open("w") as out:
            for n in range(COUNT):
                owner = self.user if n % (COUNT // OWNED) == 0 else other
                ip = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
                row = Instance(
                    id=f"ins-{n:08x}", name=f"m{chance.getrandbits(32):08x}-{n}", owner=owner, image=version, cpus=2, memory_mib=2048,
                    state=chance.choice(STATES), wanted="running", cluster="cc-00000001", node=f"nc-{n % 200:08x}", created_at=now - n * 0.5, changed_at=now,
                    nics=[{"mac": f"02:00:{n >> 24:02x}:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}", "ip": ip, "network": "default"}],
                )
                row.live_name = row.name
                rows.append(row)
                out.write(f"{row.id};{row.name};{owner.username};{row.state};{row.node};{ip};{row.cpus};{row.memory_mib};{row.created_at}\n")
        Instance.objects.bulk_create(rows, batch_size=2000)
        self.names = [r.name for r in rows]

    def get(self, url: str, who: str = "admin") -> Any:
        answer = self.client.get(url, headers=self.headers[who])
        assert answer.status_code == 200, answer.content[:300]
        return json.loads(answer.content)

    def page(self, url: str) -> int:
        answer = self.console.get(url)
        assert answer.status_code == 200
        return answer.content.count(b'data-live="instance:')

    def all_of(self, url: str, pages: int, who: str = "admin") -> list[bytes]:
        """So many pages, each named by the one before, unread but for that."""
        found: list[bytes] = []
        for _ in range(pages):
            answer = self.client.get(url, headers=self.headers[who])
            assert answer.status_code == 200
            found.append(answer.content)
            url = answer.content.rpartition(b'"next":"')[2].partition(b'"')[0].decode()
        return found

    def awk(self, program: str) -> str:
        return subprocess.run(["awk", "-F;", program, str(self.file)], check=True, capture_output=True, text=True).stdout.strip()

    def timed(self, what: str, call: Callable[[], Any], times: int) -> Any:
        each, cpu = [], time.process_time()
        for _ in range(times):
            began = time.monotonic()
            answer = call()
            each.append((time.monotonic() - began) * 1e3)
        self.runs.setdefault(f"{what}, ms", []).append(statistics.median(each))
        self.runs.setdefault(f"{what}, cpu ms", []).append((time.process_time() - cpu) / times * 1e3)
        return answer

    def measure(self) -> dict[str, Any]:
        from clc.web.rest import PAGE_AT_MOST

        self.runs: dict[str, list[float]] = {}
        deep = self.get(f"{API}?limit=200")["next"]
        for _ in range(100):
            deep = self.get(deep)["next"]
        wanted = self.names[70_000]
        for turn in range(ROUNDS + 1):
            if turn == 1:
                self.runs = {}
            first = self.timed("A page of 50", lambda: self.get(API), 20)
            peer = self.timed("B DRF page of 50", lambda: self.get("/peer/?limit=50"), 10)
            assert [r["id"] for r in first["results"]] == [r["id"] for r in peer["results"]]
            assert len(self.timed("A page of 50, a user's own", lambda: self.get(API, "ada"), 20)["results"]) == 50
            assert len(self.timed("A page of 200, 20,000 rows down", lambda: self.get(deep), 5)["results"]) == 200
            ours = self.timed("A 10,000 in pages", lambda: self.all_of(f"{API}?limit={PAGE_AT_MOST}", 10_000 // PAGE_AT_MOST), 1)
            theirs = self.timed("B DRF 10,000 at once", lambda: self.all_of("/peer/?limit=10000", 1), 1)
            assert ids(ours) == ids(theirs)
            assert self.timed("floor: 10,000 as JSON by the database", self.floor, 3) == 10_000
            told = self.timed("A filter by state and host", lambda: self.get(f"{API}?state=failed&host=nc-00000007"), 5)
            assert len(told["results"]) == min(50, int(self.timed("awk filter", lambda: self.awk('$4=="failed" && $5=="nc-00000007" {n++} END {print n}'), 1)))
            told = self.timed("A by name", lambda: self.get(f"{API}?name={wanted}"), 5)
            assert [r["name"] for r in told["results"]] == [wanted]
            assert self.timed("A console, first page", lambda: self.page("/instances/"), 3) == 50
            assert self.timed("A console, part of a name (one of 100,000)", lambda: self.page(f"/instances/?q={wanted[1:]}"), 2) == 1
            assert self.timed("A console, beginning of names", lambda: self.page(f"/instances/?q={wanted[:4]}"), 2) >= 1
            assert self.timed("awk part of a name", lambda: self.awk(f'index($2,"{wanted[1:]}") {{n++}} END {{print n}}'), 1) == "1"
            assert self.timed("A console, overview with its sums", lambda: self.console.get("/").status_code, 3) == 200
            self.timed("awk sums", lambda: self.awk('$4!="stopped" {c+=$7; m+=$8; n++} END {print c, m, n}'), 1)
        return {"database": memory.database(), "runs": self.runs}

    def floor(self) -> int:
        """All columns that a picture shows, put into JSON by SQLite itself."""
        from django.db import connection

        if connection.vendor != "sqlite":
            return 10_000
        with connection.cursor() as cursor:
            cursor.execute(
                "select json_group_array(json_object('id',id,'name',name,'state',state,'wanted',wanted,'cpus',cpus,'memory',memory_mib,'node',node,"
                "'nics',nics,'created',created_at)) from (select * from luhyadb_instance order by created_at desc limit 10000)")
            return len(json.loads(cursor.fetchone()[0])) if os.environ.get("EDUCLOUD_BENCH_CHECK") else 10_000


def ids(pages: list[bytes]) -> list[str]:
    """Of all rows on pages."""
    found = [row["id"] for page in pages for row in json.loads(page)["results"]]
    assert len(found) == 10_000
    return found
