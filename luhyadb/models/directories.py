"""Tables of accounts that are kept elsewhere: Directory, DirectoryMapping, DirectoryAccount."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import DirectoryKind
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import Group
from luhyadb.models.people import Account
from luhyadb.models.rights import AccessRole


class Directory(Table):
    """Where people have an account already; its ``secret`` is sealed. Writer: clc.services.directories.

    ``group``: of whom no mapping knows; none: they are refused. ``units``: below which organizational units are paths. ``checked``: how its people
    were found last: ``trouble``, or how many there are and the names that wait for an administrator's word.
    """

    id = pk()
    name = models.CharField(max_length=32, unique=True)
    kind = word(DirectoryKind)
    enabled = models.BooleanField(default=True)
    settings = models.JSONField(default=dict)
    secret = models.TextField(default="", blank=True)
    group = models.ForeignKey(Group, models.PROTECT, null=True, related_name="+")
    role = models.ForeignKey(AccessRole, models.PROTECT, default="user", related_name="+")
    units = models.ForeignKey(Group, models.PROTECT, null=True, related_name="+")
    created_at = models.FloatField()
    checked_at = models.FloatField(default=0)
    checked = models.JSONField(default=dict)

    class Meta:
        ordering = ["created_at", "id"]


class DirectoryMapping(Table):
    """Who has that value of an attribute belongs to that group with that access role; the first that fits counts. Writer: clc.services.directories."""

    id = pk()
    directory = models.ForeignKey(Directory, models.CASCADE, related_name="mappings")
    place = models.PositiveIntegerField()
    attribute = models.CharField(max_length=64)
    value = models.CharField(max_length=500)
    group = models.ForeignKey(Group, models.PROTECT, related_name="+")
    role = models.ForeignKey(AccessRole, models.PROTECT, related_name="+")

    class Meta:
        ordering = ["place", "id"]


class DirectoryAccount(Table):
    """Which account is whose in a directory, by ``key``, the digest of an id that never changes. Writer: clc.services.directory_people.

    ``name``: as they are called there. ``gone_at``: since when they are found there no more, for which the account was deactivated.
    """

    account = models.OneToOneField(Account, models.CASCADE, primary_key=True, related_name="of_directory")
    directory = models.ForeignKey(Directory, models.PROTECT, related_name="accounts")
    key = models.CharField(max_length=64)
    subject = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    seen_at = models.FloatField()
    gone_at = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["directory", "key"], name="one_account_per_person")]
