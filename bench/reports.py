"""What was used: a report of 100,000 runs of machines in 1,000 groups, asked by an administrator and by somebody over a tenth of them.

A page is the newest 1,000 lines; the sums are the hours of all; a budget is the hours of one group with all below it, asked at each start.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench import memory

COUNT, GROUPS, ROUNDS = 100_000, 1_000, 5
HOUR = 3600.0


def measure() -> dict[str, Any]:
    """Milliseconds, medians of each round."""
    with memory.opened("clc"):
        return Reports().measure()


class Reports:
    """The rows, and who asks."""

    def __init__(self) -> None:
        from luhyadb.models import AccessRole, Account, Group, GroupAbove, Image, ImageVersion, Instance, Run
        from luhyadb.models.groups import EVERYBODY
        from luhyadb.ready_made import key_of

        chance, self.now = random.Random(8), time.time()
        schools = [f"grp-{n:08x}" for n in range(1, 11)]
        rows = [(ident, f"s{n}", EVERYBODY, [EVERYBODY, ident]) for n, ident in enumerate(schools)]
        for n in range(GROUPS):
            school = chance.randrange(10)
            ident = f"grp-{n + 100:08x}"
            rows.append((ident, f"s{school}.c{n}", schools[school], [EVERYBODY, schools[school], ident]))
        Group.objects.bulk_create([Group(id=ident, path=path, key=key_of(path), parent_id=above) for ident, path, above, _ in rows], batch_size=2000)
        GroupAbove.objects.bulk_create([GroupAbove(group_id=ident, above_id=each) for ident, _, _, over in rows for each in over], batch_size=5000)
        self.school = schools[0]
        self.admin = Account.objects.create(username="root", is_staff=True)
        self.head = Account.objects.create(username="head", access_role=AccessRole.objects.get(pk="powerAdm"), group_id=self.school)
        pupils = Account.objects.bulk_create([Account(username=f"p{n}", group_id=rows[10 + n % GROUPS][0]) for n in range(2000)])
        image = Image.objects.create(id="img-00000001", name="lab", owner=self.admin, created_at=self.now)
        version = ImageVersion.objects.create(image=image, version=1, state="published", blobs=[], created_at=self.now)
        made = [(f"ins-{n:08x}", chance.choice(pupils)) for n in range(COUNT)]
        Instance.objects.bulk_create([
            Instance(id=ident, name=f"m{ident}", live_name=f"m{ident}", owner=who, group_id=who.group_id, image=version, cpus=2, memory_mib=1024,
                     created_at=self.now, changed_at=self.now) for ident, who in made], batch_size=2000)
        Run.objects.bulk_create([
            Run(instance_id=ident, owner=who, group_id=who.group_id, cpus=2, memory_mib=1024, began_at=(began := self.now - chance.random() * 2000 * HOUR),
                ended_at=began + chance.random() * 8 * HOUR) for ident, who in made], batch_size=2000)

    def timed(self, what: str, call: Callable[[], Any], times: int = 5) -> Any:
        each = []
        for _ in range(times):
            began = time.monotonic()
            answer = call()
            each.append((time.monotonic() - began) * 1e3)
        self.runs.setdefault(f"{what}, ms", []).append(statistics.median(each))
        return answer

    def measure(self) -> dict[str, Any]:
        from clc.services import reports, runs
        from luhyaapi.contracts.vocabulary import Budgeted

        self.runs: dict[str, list[float]] = {}
        report, term = reports.REPORTS["instances"], reports.Asked(self.now - 4 * 30 * 24 * HOUR, self.now)
        for _ in range(ROUNDS):
            for who in (self.admin, self.head):
                self.timed(f"a page of 1,000 lines, {who.username}", lambda who=who: reports.lines(who, report, term, 1000))
                told = self.timed(f"the hours of all, {who.username}", lambda who=who: reports.totals(who, term))
            used = self.timed("a budget of a school", lambda: runs.hours(term.since, term.until, groups=[self.school]))
            assert abs(used[self.school][Budgeted.HOURS] - told["hours"]) < 1
            self.timed("all of it as CSV, root", lambda: reports.as_csv(self.admin, report, term), 1)
        return {"runs": self.runs, "counts": {"runs": COUNT, "groups": GROUPS}}
