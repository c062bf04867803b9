"""Tables: Instance, ScreenTicket."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import Accelerator, InstanceState, Persistence, Usage
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import EVERYBODY, Group
from luhyadb.models.images import ImageVersion
from luhyadb.models.people import Account


class Instance(Table):
    """A virtual machine: what shall be (``wanted``) and what was last heard (``state``). Writer: clc.services.instances."""

    id = pk()
    name = models.CharField(max_length=63)
    live_name = models.CharField(max_length=63, null=True, help_text="the name until deleted; then it is free again")  # noqa: DJ001 - unique where set
    owner = models.ForeignKey(Account, models.PROTECT)
    group = models.ForeignKey(Group, models.PROTECT, default=EVERYBODY)
    usage = word(Usage, default=Usage.SERVER)
    image = models.ForeignKey(ImageVersion, models.PROTECT)
    cpus = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    persistence = word(Persistence, default=Persistence.PERSISTENT)
    data_disk_mib = models.PositiveIntegerField(default=0)
    first_boot_offline = models.BooleanField(default=False, help_text="its cards get their carrier once its first boot is done")
    offline = models.BooleanField(default=False, help_text="they have none yet")
    ssh_keys = models.JSONField(default=list)
    user_data = models.TextField(default="", blank=True, help_text="for the guest alone: it may hold secrets, and nobody is shown it again")
    state = word(InstanceState, default=InstanceState.DEFINED)
    wanted = word(InstanceState, default=InstanceState.RUNNING)
    gen = models.PositiveIntegerField(default=0)
    contradicted = word(InstanceState, default="", blank=True, help_text="what its node said while an order was under way: it is asked when that ended")
    task = models.CharField(max_length=20, default="")
    cluster = models.CharField(max_length=20, default="", blank=True)
    node = models.CharField(max_length=20, default="", blank=True)
    fence = models.PositiveIntegerField(default=0, help_text="the generation of the order that placed it there")
    nics = models.JSONField(default=list)
    display_port = models.PositiveIntegerField(default=0)
    accelerator = word(Accelerator, default=Accelerator.UNPROVED)
    why = models.JSONField(default=dict)
    error = models.JSONField(null=True, default=None)
    created_at = models.FloatField()
    changed_at = models.FloatField()

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["created_at", "id"]), models.Index(fields=["owner", "created_at", "id"]),
            models.Index(fields=["state", "created_at", "id"]), models.Index(fields=["node", "state"]), models.Index(fields=["name"]),
        ]
        constraints = [models.UniqueConstraint(fields=["owner", "live_name"], name="one_name_per_owner")]


class ScreenTicket(Table):
    """One look at one screen: hashes of the browser's ticket and of the stream it is joined with. Writer: clc.services.screens."""

    ticket = models.CharField(max_length=64, unique=True)
    stream = models.CharField(max_length=64, unique=True)
    account = models.ForeignKey(Account, models.CASCADE)
    instance = models.ForeignKey(Instance, models.CASCADE)
    channel = models.CharField(max_length=8, default="screen")
    expires_at = models.FloatField()
    used = models.BooleanField(default=False)
