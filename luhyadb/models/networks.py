"""Tables: Network, Card, Reservation, NetworkPlan."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import NetworkMode
from luhyadb.models.base import Table, pk, word
from luhyadb.models.hosts import Host
from luhyadb.models.instances import Instance
from luhyadb.models.people import Account


class Network(Table):
    """A network of a cluster beside the one of its settings. Writer: clc.services.networks.

    ``live_*`` are empty once it is retired; then they are free again.
    """

    id = pk()
    cluster = models.ForeignKey(Host, models.PROTECT)
    name = models.CharField(max_length=63)
    mode = word(NetworkMode, default=NetworkMode.CLUSTER)
    number = models.PositiveIntegerField(help_text="in its cluster; names its bridge on every host")
    subnet = models.CharField(max_length=18)
    gateway = models.CharField(max_length=15, default="", blank=True, help_text="of the campus; empty: the first address")
    subnet6 = models.CharField(max_length=43, default="", blank=True, help_text="its IPv6 side, a /64; empty: it has none")
    ranges = models.JSONField(default=list, help_text="first and last address of what is lent; none: all")
    way_out = models.BooleanField(default=True, help_text="its guests reach what lies outside of the cluster")
    isolated = models.BooleanField(default=False, help_text="its guests do not reach each other")
    live_name = models.CharField(max_length=63, null=True)  # noqa: DJ001 - unique where set
    live_number = models.PositiveIntegerField(null=True)
    created_at = models.FloatField()
    retired_at = models.FloatField(default=0)

    class Meta:
        ordering = ["cluster", "number", "id"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "live_name"], name="one_network_per_name"),
            models.UniqueConstraint(fields=["cluster", "live_number"], name="one_network_per_number"),
        ]


class Card(Table):
    """An instance has a card in a network, in that order. Writer: clc.services.cards."""

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="cards")
    network = models.ForeignKey(Network, models.PROTECT, null=True, help_text="null: the network of the cluster's settings")
    position = models.PositiveIntegerField()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["instance", "position"], name="one_card_per_position")]


class Reservation(Table):
    """An address of a network that nobody is lent by chance. Writer: clc.services.reservations.

    ``owner`` null: it is no instance's; ``name``: only the instance of that name gets it. ``number`` is the address as one.
    """

    cluster = models.ForeignKey(Host, models.PROTECT)
    network = models.ForeignKey(Network, models.PROTECT, null=True, help_text="null: the network of the cluster's settings")
    address = models.CharField(max_length=15)
    number = models.PositiveBigIntegerField()
    mac = models.CharField(max_length=17, null=True)  # noqa: DJ001 - unique where set
    owner = models.ForeignKey(Account, models.PROTECT, null=True, default=None)
    name = models.CharField(max_length=63, default="", blank=True)
    created_at = models.FloatField()

    class Meta:
        ordering = ["number", "id"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "address"], name="one_reservation_per_address"),
            models.UniqueConstraint(fields=["cluster", "mac"], name="one_reservation_per_mac"),
        ]


class NetworkPlan(Table):
    """The number of the last word to a cluster about its networks, and the ports it lends. Writer: clc.services.plans."""

    cluster = models.CharField(max_length=20, primary_key=True)
    number = models.PositiveBigIntegerField(default=0)
    first_port = models.PositiveIntegerField(default=0, help_text="0: that of the cluster's settings")
    last_port = models.PositiveIntegerField(default=0)
