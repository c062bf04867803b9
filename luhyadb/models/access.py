"""Tables of what reaches an instance from outside: Access, Forward, SecurityGroup, GroupMember, ElasticAddress."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import Protocol
from luhyadb.models.base import Table, pk, word
from luhyadb.models.hosts import Host
from luhyadb.models.instances import Instance
from luhyadb.models.people import Account


class Access(Table):
    """What may reach an instance beside its forwards and groups, and the words about it all. Writer: clc.services.access.

    ``number`` is of the last word its cluster shall have heard, ``heard`` of the last one it answered, ``said_at`` when it was told.
    """

    instance = models.OneToOneField(Instance, models.CASCADE, primary_key=True, related_name="access")
    rules = models.JSONField(default=list)
    number = models.PositiveBigIntegerField(default=0)
    heard = models.PositiveBigIntegerField(default=0)
    said_at = models.FloatField(default=0)
    trouble = models.JSONField(null=True, default=None)


class Forward(Table):
    """A port of an instance that is reached by a port its cluster lends. Writer: clc.services.forwards.

    ``until`` 0: as long as the instance; ``address`` and ``port`` are as the cluster said, empty before.
    """

    id = pk()
    instance = models.ForeignKey(Instance, models.CASCADE, related_name="forwards")
    protocol = word(Protocol, default=Protocol.TCP)
    guest_port = models.PositiveIntegerField()
    sources = models.JSONField(default=list)
    until = models.FloatField(default=0, db_index=True)
    address = models.CharField(max_length=15, default="", blank=True)
    port = models.PositiveIntegerField(default=0)
    trouble = models.JSONField(null=True, default=None)
    created_at = models.FloatField()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["instance", "protocol", "guest_port"], name="one_forward_per_port")]


class SecurityGroup(Table):
    """Rules of which somebody's instances share what they say. Writer: clc.services.security_groups."""

    id = pk()
    owner = models.ForeignKey(Account, models.PROTECT)
    name = models.CharField(max_length=63)
    rules = models.JSONField(default=list)
    created_at = models.FloatField()
    changed_at = models.FloatField()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_group_per_name")]


class GroupMember(Table):
    """An instance is in a security group. Writer: clc.services.security_groups."""

    group = models.ForeignKey(SecurityGroup, models.PROTECT, related_name="members")
    instance = models.ForeignKey(Instance, models.CASCADE, related_name="groups")

    class Meta:
        ordering = ["group__name", "id"]
        constraints = [models.UniqueConstraint(fields=["group", "instance"], name="once_in_a_group")]


class ElasticAddress(Table):
    """A public address of a cluster, lent to its owner and leading to an instance. Writer: clc.services.elastic.

    ``owner`` null: nobody has it; ``number`` is the address as one; ``live_address`` is empty once it is retired.
    """

    id = pk()
    cluster = models.ForeignKey(Host, models.PROTECT)
    address = models.CharField(max_length=15)
    live_address = models.CharField(max_length=15, null=True, unique=True)  # noqa: DJ001 - unique where set
    number = models.PositiveBigIntegerField()
    owner = models.ForeignKey(Account, models.PROTECT, null=True, default=None)
    instance = models.OneToOneField(Instance, models.SET_NULL, null=True, default=None, related_name="elastic")
    allocated_at = models.FloatField(default=0)
    released_at = models.FloatField(default=0)
    created_at = models.FloatField()
    retired_at = models.FloatField(default=0)

    class Meta:
        ordering = ["number", "id"]
        indexes = [models.Index(fields=["cluster", "released_at"])]
