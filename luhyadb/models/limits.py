"""Tables: ExpiryRule, Expiry, Run, Budget, AddressHolding, CapacitySample."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import Budgeted
from luhyadb.models.access import ElasticAddress
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import EVERYBODY, Group
from luhyadb.models.hosts import Host
from luhyadb.models.instances import Instance
from luhyadb.models.people import Account


class ExpiryRule(Table):
    """How long the instances of a group, and of those below it, may be there; in seconds, None: nothing said here. Writer: clc.services.expiry_rules.

    ``delete_after_s``: what has ended is deleted so long afterwards; 0: never. ``budget_grace_s``: what runs when a budget of the group is
    used up may go on so long.
    """

    group = models.OneToOneField(Group, models.CASCADE, primary_key=True)
    default_s = models.FloatField(null=True, default=None)
    longest_s = models.FloatField(null=True, default=None)
    warn_s = models.FloatField(null=True, default=None)
    delete_after_s = models.FloatField(null=True, default=None)
    budget_grace_s = models.FloatField(null=True, default=None)
    set_by = models.CharField(max_length=150)
    set_at = models.FloatField()


class Expiry(Table):
    """When an instance ends; one without a row does not. Writer: clc.services.expiry.

    ``warn_at``: its end is to be told then, and was at ``warned_at``; ``late``: shortly before it or after it. ``ended_at``: it was carried
    out; ``tried_at``: when that was tried last; ``let_go``: an administrator said that it may be, although it is one of very many.
    """

    instance = models.OneToOneField(Instance, models.CASCADE, primary_key=True, related_name="expiry")
    expires_at = models.FloatField(db_index=True)
    set_by = models.CharField(max_length=150, default="", blank=True)
    warn_at = models.FloatField()
    warned_at = models.FloatField(default=0)
    late = models.BooleanField(default=False)
    ended_at = models.FloatField(default=0, db_index=True)
    tried_at = models.FloatField(default=0)
    let_go = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["warned_at", "warn_at"])]


class Run(Table):
    """That an instance ran: from when to when, at which size and whose. ``ended_at`` 0: it runs. Writer: clc.services.runs.

    ``unknown_at``: since then its node was not heard of; it counts no further until it is seen to run.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="runs")
    owner = models.ForeignKey(Account, models.PROTECT)
    group = models.ForeignKey(Group, models.SET_DEFAULT, default=EVERYBODY)
    cpus = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    began_at = models.FloatField()
    ended_at = models.FloatField(default=0)
    unknown_at = models.FloatField(default=0)

    class Meta:
        ordering = ["began_at", "id"]
        indexes = [
            models.Index(fields=["group", "began_at"]), models.Index(fields=["owner", "began_at"]), models.Index(fields=["began_at", "id"]),
            models.Index(fields=["instance", "ended_at"]),
        ]


class Budget(Table):
    """At most so many hours of running from one day to another, for a group with all below it or for one person. Writer: clc.services.budgets.

    ``warned_at``: it was told that most is used; ``spent_at``: since then all is.
    """

    id = pk()
    group = models.ForeignKey(Group, models.CASCADE, null=True)
    account = models.ForeignKey(Account, models.CASCADE, null=True)
    counted = word(Budgeted)
    hours = models.PositiveBigIntegerField()
    from_at = models.FloatField()
    to_at = models.FloatField()
    set_by = models.CharField(max_length=150)
    set_at = models.FloatField()
    warned_at = models.FloatField(default=0)
    spent_at = models.FloatField(default=0)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(account__isnull=True) ^ models.Q(group__isnull=True), name="budget_of_one"),
            models.UniqueConstraint(fields=["group", "counted"], name="one_budget_of_a_group"),
            models.UniqueConstraint(fields=["account", "counted"], name="one_budget_of_a_person"),
        ]


class AddressHolding(Table):
    """That somebody had a public address, and when; ``ended_at`` 0: has it. Writer: clc.services.address_holdings."""

    elastic = models.ForeignKey(ElasticAddress, models.CASCADE)
    address = models.CharField(max_length=15)
    owner = models.ForeignKey(Account, models.PROTECT)
    group = models.ForeignKey(Group, models.SET_DEFAULT, default=EVERYBODY)
    began_at = models.FloatField()
    ended_at = models.FloatField(default=0)

    class Meta:
        ordering = ["began_at", "id"]
        indexes = [models.Index(fields=["began_at", "id"])]


class CapacitySample(Table):
    """What a cluster had, at one moment: in all, ``used`` by what runs, ``promised`` to all there is. Memory and disk in MiB. Writer: clc.services.capacity."""

    cluster = models.ForeignKey(Host, models.CASCADE)
    at = models.FloatField(db_index=True)
    nodes = models.PositiveIntegerField()
    cpus = models.PositiveIntegerField()
    cpus_used = models.PositiveIntegerField()
    cpus_promised = models.PositiveIntegerField()
    memory_mib = models.PositiveBigIntegerField()
    memory_used_mib = models.PositiveBigIntegerField()
    memory_promised_mib = models.PositiveBigIntegerField()
    disk_mib = models.PositiveBigIntegerField()
    disk_promised_mib = models.PositiveBigIntegerField()

    class Meta:
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["cluster", "at"], name="one_sample_at_a_time")]
