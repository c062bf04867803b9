"""Who may do what: 100,000 instances in 10,000 groups, asked by somebody with 50 grants, each over a class of a few groups.

A is the rule (`luhyadb.scope`): one query for a page of what somebody sees, for how many there are, and for one permission. B reads the paths of all
instances and compares them in the program, as the first thing that comes to mind does. Answers are compared: the same ids.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench import memory

COUNT, GROUPS, GRANTS, ROUNDS = 100_000, 10_000, 50, 5


def measure() -> dict[str, Any]:
    """Milliseconds, medians of each round."""
    with memory.opened("clc"):
        return Rights().measure()


class Rights:
    """The rows, and who asks."""

    def __init__(self) -> None:
        from luhyadb.models import AccessRole, Account, Grant, Group, GroupAbove, Image, ImageVersion, Instance
        from luhyadb.models.groups import EVERYBODY
        from luhyadb.ready_made import key_of

        chance, now = random.Random(6), time.time()
        paths, over = {EVERYBODY: ""}, {EVERYBODY: [EVERYBODY]}
        rows, pairs, level = [], [], [EVERYBODY]
        while len(paths) <= GROUPS:
            above = chance.choice(level[-2000:])
            ident = f"grp-{len(paths):08x}"
            paths[ident] = ".".join(filter(None, (paths[above], f"g{len(paths)}")))
            over[ident] = [*over[above], ident]
            level.append(ident)
            rows.append(Group(id=ident, path=paths[ident], key=key_of(paths[ident]), parent_id=above))
            pairs += [GroupAbove(group_id=ident, above_id=each) for each in over[ident]]
        Group.objects.bulk_create(rows, batch_size=2000)
        GroupAbove.objects.bulk_create(pairs, batch_size=5000)
        self.paths = paths
        self.teacher = Account.objects.create(username="tina", access_role=AccessRole.objects.get(pk="user"), group_id=level[-1])
        other = Account.objects.create(username="bob")
        self.at = chance.sample(level[GROUPS // 2:], GRANTS)
        given = {"account": self.teacher, "role_id": "powerAdm", "created_at": now}
        Grant.objects.bulk_create(Grant(id=f"gra-{n:08x}", group_id=each, **given) for n, each in enumerate(self.at))
        image = Image.objects.create(id="img-00000001", name="lab", owner=other, created_at=now)
        version = ImageVersion.objects.create(image=image, version=1, state="published", blobs=[], created_at=now)
        Instance.objects.bulk_create([
            Instance(id=f"ins-{n:08x}", name=f"m{n}", live_name=f"m{n}", owner=other, group_id=chance.choice(level), image=version, cpus=1, memory_mib=1,
                     created_at=now - n, changed_at=now) for n in range(COUNT)
        ], batch_size=2000)
        from luhyaapi.contracts.vocabulary import Kind, Verb
        from luhyadb import scope

        self.kind, self.verb, self.held = Kind.INSTANCE, Verb.DELETE, scope.held(self.teacher)
        self.asked = [paths[each] for each in chance.sample(level, 1000)]
        self.depth = max(len(each) for each in over.values())

    def page(self) -> list[str]:
        from luhyadb import scope
        from luhyadb.models import Instance

        return list(scope.visible_to(self.teacher, Instance).order_by("-created_at", "id").values_list("pk", flat=True)[:50])

    def count(self) -> int:
        from luhyadb import scope
        from luhyadb.models import Instance

        return scope.visible_to(self.teacher, Instance).count()

    def one(self, ident: str) -> bool:
        from luhyadb import scope
        from luhyadb.models import Instance

        return scope.visible_to(self.teacher, Instance, scope.Verb.DELETE).filter(pk=ident).exists()

    def thousand(self) -> int:
        return sum(self.held.may(self.kind, self.verb, path) for path in self.asked)

    def compared(self) -> list[str]:
        """As B: every instance's path against every path of a grant."""
        from luhyadb.models import Instance

        prefixes = tuple(f"{self.paths[each]}." for each in self.at)
        rows = Instance.objects.order_by("-created_at", "id").values_list("pk", "group__path")
        return [pk for pk, path in rows if f"{path}.".startswith(prefixes)]

    def timed(self, what: str, call: Callable[[], Any], times: int) -> Any:
        each = []
        for _ in range(times):
            began = time.monotonic()
            answer = call()
            each.append((time.monotonic() - began) * 1e3)
        self.runs.setdefault(f"{what}, ms", []).append(statistics.median(each))
        return answer

    def measure(self) -> dict[str, Any]:
        self.runs: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            page = self.timed("a page of what one sees", self.page, 9)
            count = self.timed("how many one sees", self.count, 5)
            self.timed("may one delete this", partial(self.one, page[0]), 25)
            self.timed("may one, as read before, 1,000 times", self.thousand, 9)
            wanted = self.timed("B: paths compared in the program", self.compared, 1)
            assert page == wanted[:50]
            assert count == len(wanted)
        return {"runs": self.runs, "counts": {"instances": COUNT, "groups": GROUPS, "grants": GRANTS, "deepest": self.depth, "seen": count}}
