"""Tables of the queue: Turn, Gate."""

from __future__ import annotations

from django.db import models

from luhyadb.models.base import Table
from luhyadb.models.images import ImageVersion
from luhyadb.models.people import Account
from luhyadb.models.tasks import Task


class Turn(Table):
    """A run that waits (``handed_at`` 0), or was given to ``cluster`` and has not ended. Writer: clc.services.queue.

    ``number`` is its round: in each round every owner has one turn. ``node`` and ``cluster`` of one that waits are where it has
    its place already, or its networks are. ``image``: no run, its system disk is made anew from that version.
    """

    task = models.OneToOneField(Task, models.CASCADE)
    owner = models.ForeignKey(Account, models.CASCADE)
    number = models.PositiveBigIntegerField()
    cpus = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_mib = models.PositiveIntegerField(default=0)
    image = models.ForeignKey(ImageVersion, models.PROTECT, null=True, default=None)
    cluster = models.CharField(max_length=20, default="", blank=True)
    node = models.CharField(max_length=20, default="", blank=True)
    is_bound = models.BooleanField(default=False, help_text="no other cluster can take it")
    attempt = models.PositiveIntegerField(default=0)
    until = models.FloatField()
    handed_at = models.FloatField(default=0)
    placed_at = models.FloatField(default=0)

    class Meta:
        ordering = ["number", "id"]
        indexes = [models.Index(fields=["handed_at", "number"]), models.Index(fields=["cluster", "handed_at"])]


class Gate(Table):
    """What a cluster had no room for since something became free there. Writer: clc.services.queue.

    ``refused``: sizes with the reason. ``careful``: it refused one while others wait, so it is asked for one at a time.
    """

    cluster = models.CharField(max_length=20, primary_key=True)
    refused = models.JSONField(default=list)
    careful = models.BooleanField(default=False)
    ask_at = models.FloatField(default=0)
