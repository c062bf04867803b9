"""Tables: AccessRole, Permission, Grant, Share."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import Group


class AccessRole(Table):
    """A named set of permissions. The ready-made ones cannot be changed. Writer: clc.services.access_roles."""

    name = models.CharField(max_length=63, primary_key=True)
    ready_made = models.BooleanField(default=False)
    description = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        ordering = ["-ready_made", "name"]


class Permission(Table):
    """One verb over one kind that an access role gives. Writer: clc.services.access_roles."""

    role = models.ForeignKey(AccessRole, models.CASCADE, related_name="permissions")
    kind = word(Kind)
    verb = word(Verb)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["role", "kind", "verb"], name="one_permission_per_verb")]


class Grant(Table):
    """Somebody has an access role over all that belongs to a group or lies below it, beside the one of their own group. Writer: clc.services.grants."""

    id = pk()
    account = models.ForeignKey("luhyadb.Account", models.CASCADE, related_name="grants")
    role = models.ForeignKey(AccessRole, models.PROTECT)
    group = models.ForeignKey(Group, models.PROTECT)
    created_at = models.FloatField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["account", "role", "group"], name="one_grant_of_a_role")]


class Share(Table):
    """One resource, by ``kind`` and its id, is open to one person, or to all who belong to a group or below it. Writer: clc.services.shares."""

    id = pk()
    kind = word(Kind)
    subject = models.CharField(max_length=20)
    verb = word(Verb)
    account = models.ForeignKey("luhyadb.Account", models.CASCADE, null=True)
    group = models.ForeignKey(Group, models.PROTECT, null=True)
    created_at = models.FloatField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(account__isnull=True) ^ models.Q(group__isnull=True), name="shared_with_one"),
            models.UniqueConstraint(fields=["kind", "subject", "verb", "account"], name="shared_once_with_a_person"),
            models.UniqueConstraint(fields=["kind", "subject", "verb", "group"], name="shared_once_with_a_group"),
        ]
        indexes = [models.Index(fields=["account", "kind", "verb"]), models.Index(fields=["group", "kind", "verb"])]
