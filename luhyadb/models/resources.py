"""Tables of a cluster: its hosts, places, networks, and what is lent."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import InstanceState, Protocol, Role
from luhyadb.models.base import Table, pk, word


class Child(Table):
    """A host below this CC. Writer: cc.services.children."""

    home = "cc"
    id = pk()
    role = word(Role)
    name = models.CharField(max_length=63)
    certificate = models.TextField()
    address = models.CharField(max_length=100, default="", help_text="its door, as it says itself")
    draining = models.BooleanField(default=False)
    cpus = models.IntegerField(default=0)
    memory_mib = models.IntegerField(default=0)
    disk_mib = models.IntegerField(default=0)
    speaks = models.JSONField(default=dict)
    hypervisor = models.CharField(max_length=80, default="")
    last_heard = models.FloatField(default=0)


class Placement(Table):
    """Where an instance is and what the cluster wants of it. Writer: cc.services.placements."""

    home = "cc"
    instance = pk()
    node = models.CharField(max_length=20, db_index=True)
    fence = models.PositiveIntegerField(default=1, help_text="the generation of the order that placed it here")
    gen = models.PositiveIntegerField(default=0)
    wanted = word(InstanceState, default=InstanceState.RUNNING)
    found = word(InstanceState, default=InstanceState.DEFINED)
    found_gen = models.PositiveIntegerField(default=0, help_text="after the order of which generation its node said that")
    spec = models.JSONField()
    cpus = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_mib = models.PositiveIntegerField(default=0, help_text="its data disk; held also while it is stopped")
    why = models.JSONField(default=dict)


class Segment(Table):
    """A network beside the one of the settings, as the CLC wants it. Writer: cc.services.networks."""

    home = "cc"
    id = pk()
    number = models.PositiveIntegerField(unique=True)
    spec = models.JSONField()


class Pool(Table):
    """What a cluster lends, as one row to lock: who lends, gives back or looks who holds what does so alone. Writer: cc.services.pool."""

    home = "cc"
    name = models.CharField(max_length=63, primary_key=True)
    number = models.PositiveBigIntegerField(default=0, help_text="raised with every change of places, leases, networks and children")
    networks = models.PositiveBigIntegerField(default=0, help_text="the number of the last NetworksSet")
    first_port = models.PositiveIntegerField(default=0, help_text="of those that are lent to lead to guests; 0: that of the settings")
    last_port = models.PositiveIntegerField(default=0)


class AddressLease(Table):
    """A MAC and an IP lent to an instance; unique while lent and until cooled down. Writer: cc.services.leases."""

    home = "cc"
    ip = models.CharField(max_length=15, unique=True)
    mac = models.CharField(max_length=17, unique=True)
    network = models.CharField(max_length=63)
    instance = models.CharField(max_length=20, default="", db_index=True)
    name = models.CharField(max_length=63, default="")
    lent_at = models.FloatField(default=0)
    released_at = models.FloatField(default=0)


class ReservedAddress(Table):
    """An address that is lent to nobody by chance, as the CLC wants it. Writer: cc.services.networks."""

    home = "cc"
    ip = models.CharField(max_length=15, primary_key=True)
    network = models.CharField(max_length=63)
    mac = models.CharField(max_length=17, default="", blank=True)
    owner = models.CharField(max_length=150, default="", blank=True)
    name = models.CharField(max_length=63, default="", blank=True)


class TakenAddress(Table):
    """An address that somebody else answers for: passed over for a while. Writer: cc.services.leases."""

    home = "cc"
    ip = models.CharField(max_length=15, primary_key=True)
    network = models.CharField(max_length=63)
    mac = models.CharField(max_length=17)
    seen_at = models.FloatField()


class PortLease(Table):
    """A display port lent to an instance on every node. Writer: cc.services.leases."""

    home = "cc"
    port = models.PositiveIntegerField(unique=True)
    instance = models.CharField(max_length=20, default="", db_index=True)
    released_at = models.FloatField(default=0)


class AccessOrder(Table):
    """The last word about what may reach a placed instance from outside. Writer: cc.services.access."""

    home = "cc"
    instance = pk()
    number = models.PositiveBigIntegerField()
    allow = models.JSONField(default=list)


class ForwardLease(Table):
    """A port of the cluster that leads to a port of an instance; unique while lent and until cooled down. Writer: cc.services.access."""

    home = "cc"
    protocol = word(Protocol)
    port = models.PositiveIntegerField()
    forward = models.CharField(max_length=20, null=True, unique=True)  # noqa: DJ001 - unique where set
    instance = models.CharField(max_length=20, default="", db_index=True)
    guest_port = models.PositiveIntegerField(default=0)
    sources = models.JSONField(default=list)
    until = models.FloatField(default=0)
    released_at = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["protocol", "port"], name="one_lent_port")]


class ElasticLink(Table):
    """A public address that leads to an instance. Writer: cc.services.networks."""

    home = "cc"
    address = models.CharField(max_length=15, primary_key=True)
    instance = models.CharField(max_length=20, unique=True)
