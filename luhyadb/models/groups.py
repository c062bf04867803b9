"""Tables: Group, GroupAbove."""

from __future__ import annotations

from django.db import models

from luhyadb.models.base import Table, pk

EVERYBODY = "grp-00000000"
"""The group that all others lie below; there is always this one."""


class Group(Table):
    """A place in the tree of owners: people and resources belong to one. Writer: clc.services.groups.

    ``path`` as :func:`luhyadb.paths.normal` spells it; ``key`` is a digest of it, which no collation of a database takes for another's.
    """

    id = pk()
    path = models.CharField(max_length=700, blank=True)
    key = models.CharField(max_length=64, unique=True)
    parent = models.ForeignKey("self", models.PROTECT, null=True, related_name="children")
    created_at = models.FloatField(default=0)
    takes_requests = models.BooleanField(default=False, help_text="anybody may ask for an account in it")

    class Meta:
        ordering = ["path", "id"]


class GroupAbove(Table):
    """That a group is another one or lies below it: every pair there is, so that who may do what is one join. Writer: clc.services.groups."""

    group = models.ForeignKey(Group, models.CASCADE, related_name="above_it")
    above = models.ForeignKey(Group, models.CASCADE, related_name="below_it")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["above", "group"], name="one_pair_of_groups")]
