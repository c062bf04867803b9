"""Tables: Quota."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import Counted
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import Group
from luhyadb.models.people import Account


class Quota(Table):
    """At most so much of something, for all that belongs to a group or below it, or for one person. Writer: clc.services.quotas."""

    id = pk()
    group = models.ForeignKey(Group, models.CASCADE, null=True)
    account = models.ForeignKey(Account, models.CASCADE, null=True)
    counted = word(Counted)
    limit = models.PositiveBigIntegerField()
    set_by = models.CharField(max_length=150)
    set_at = models.FloatField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(account__isnull=True) ^ models.Q(group__isnull=True), name="quota_of_one"),
            models.UniqueConstraint(fields=["group", "counted"], name="one_quota_of_a_group"),
            models.UniqueConstraint(fields=["account", "counted"], name="one_quota_of_a_person"),
        ]
