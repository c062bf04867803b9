"""Limits through a random life of a school: what is counted is what there is, at every step, and nothing passes a limit."""

from __future__ import annotations

import random

import pytest
from django.db import transaction

from clc.services import groups, images, instances, quotas
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Counted, InstanceState
from luhyaapi.errors import Trouble
from luhyadb.models import Account, ElasticAddress, Image, Instance, Quota
from tests.support.many import many

PATHS = ("edu", "edu.a", "edu.a.one", "edu.a.two", "edu.b")
LIMITS = {Counted.INSTANCES: 9, Counted.CPUS: 14, Counted.MEMORY: 1500, Counted.DISK: 3000, Counted.IMAGES: 5, Counted.ADDRESSES: 4}


class Life:
    """Steps of people of a school. Each limit is of some group or person."""

    def __init__(self, world, admin, seed: int) -> None:
        self.chance, self.admin = random.Random(seed), admin
        self.cluster = world.cluster()[1]
        self.image = world.image(admin, "tiny")
        self.people = [world.account(f"p{n}", "powerAdm", PATHS[n % len(PATHS)]) for n in range(8)]
        for counted, limit in LIMITS.items():
            for path in PATHS[:3]:
                quotas.put(admin, counted, limit + len(path), group=path)
            quotas.put(admin, counted, max(limit // 2, 1), user="p3")
        self.done = self.refused = 0
        self.steps = (self.run, self.run, self.run, self.fail, self.end, self.end, self.publish, self.retire, self.lend, self.give_back, self.move)

    def step(self) -> None:
        """One of them; a refusal changes nothing."""
        try:
            with transaction.atomic():
                self.chance.choice(self.steps)(self.chance.choice(self.people))
                self.done += 1
        except Trouble:
            self.refused += 1

    def run(self, who: Account) -> None:
        pick = self.chance.choice
        instances.run(who, instances.Ask(image="tiny", count=pick([1, 1, 2]), cpus=pick([1, 2]), memory_bytes=pick([64, 256]) * 2**20,
                                         data_disk_bytes=pick([None, 256 * 2**20])))

    def fail(self, who: Account) -> None:
        """Something breaks behind the count, in the same transaction."""
        self.run(who)
        raise Trouble("timeout", "It broke")

    def end(self, who: Account) -> None:
        found = list(Instance.objects.filter(owner=who).exclude(state=InstanceState.DELETED))
        if found:
            Instance.objects.filter(pk=self.chance.choice(found).pk).update(state=InstanceState.DELETED)

    def publish(self, who: Account) -> None:
        images.next_version(who, images.Ask(f"of-{who.username}-{self.chance.randrange(6)}", ()))

    def retire(self, who: Account) -> None:
        Image.objects.filter(owner=who).exclude(pk=self.image.pk).update(retired=True, live_name=None)

    def lend(self, who: Account) -> None:
        quotas.check(who, who.group_id, {Counted.ADDRESSES: 1})
        number = ElasticAddress.objects.count()
        ElasticAddress.objects.create(id=ids.new("eip"), cluster=self.cluster, address=f"a{number}", live_address=f"a{number}", number=number, owner=who,
                                      created_at=clock.now())

    def give_back(self, who: Account) -> None:
        ElasticAddress.objects.filter(owner=who).update(owner=None)

    def move(self, _who: Account) -> None:
        """A branch of the tree becomes another's, and comes back: what belongs to it goes along."""
        groups.move(self.admin, "edu.a.two", "edu.b.two")
        groups.move(self.admin, "edu.b.two", "edu.a.two")


def recounted(quota: Quota) -> int:
    """By reading every row there is, one after the other."""
    def within(path: str) -> bool:
        return f"{path}.".startswith(f"{quota.group.path}.")

    def is_its(owner: Account | None, path: str) -> bool:
        return owner is not None and (owner == quota.account if quota.account else within(path))

    total = 0
    for row in Instance.objects.select_related("owner", "group").exclude(state=InstanceState.DELETED):
        if is_its(row.owner, row.group.path):
            has = {Counted.INSTANCES: 1, Counted.CPUS: row.cpus, Counted.MEMORY: row.memory_mib, Counted.DISK: row.data_disk_mib}
            total += has.get(Counted(quota.counted), 0)
    if quota.counted == Counted.IMAGES:
        total += sum(is_its(row.owner, row.group.path) for row in Image.objects.select_related("owner", "group").filter(retired=False))
    if quota.counted == Counted.ADDRESSES:
        total += sum(is_its(row.owner, row.owner.group.path if row.owner else "") for row in ElasticAddress.objects.select_related("owner__group"))
    return total


@pytest.mark.parametrize("seed", range(2))
def test_what_is_counted_is_what_there_is(world, admin, seed, record_property):
    life = Life(world, admin, seed)
    for number in range(many(150)):
        life.step()
        if number % 10 == 0:
            for each in quotas.standings(Quota.objects.select_related("group", "account")):
                assert each.used == recounted(each.quota), (seed, number, each)
                assert each.used <= each.quota.limit, (seed, number, each)
    record_property("asked", life.done + life.refused)
    assert life.refused > 20
    assert life.done > 20
