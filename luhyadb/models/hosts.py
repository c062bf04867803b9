"""Tables: Host, JoinToken."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import Accelerator, HostState, Role
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import EVERYBODY, Group


class Host(Table):
    """One role on one machine, with its certificate. Writer: clc.services.hosts."""

    id = pk()
    role = word(Role)
    name = models.CharField(max_length=63)
    state = word(HostState, default=HostState.NEW)
    drained = models.BooleanField(default=False, help_text="an administrator wants nothing new there, also while it is silent")
    lost = models.BooleanField(default=False, help_text="an administrator said that its machine is gone for good")
    group = models.ForeignKey(Group, models.PROTECT, default=EVERYBODY)
    boss = models.CharField(max_length=20, default="", blank=True, db_index=True)
    address = models.CharField(max_length=100, default="", blank=True)
    certificate = models.TextField(default="", blank=True)
    request = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 - many hosts may have none, and unique allows that for null only
    csr = models.TextField(default="", blank=True)
    tls_csr = models.TextField(default="", blank=True)
    version = models.CharField(max_length=40, default="", blank=True)
    boot = models.CharField(max_length=64, default="", blank=True)
    subnet = models.CharField(max_length=18, default="", blank=True, help_text="of a cluster: its own network")
    subnet6 = models.CharField(max_length=43, default="", blank=True)
    hypervisor = models.CharField(max_length=80, default="", blank=True)
    accelerator = word(Accelerator, default=Accelerator.UNPROVED)
    accelerator_why = models.TextField(default="", blank=True)
    speaks = models.JSONField(default=dict, blank=True)
    cpus = models.IntegerField(default=0)
    memory_mib = models.IntegerField(default=0)
    disk_mib = models.IntegerField(default=0)
    last_heard = models.FloatField(default=0)
    created_at = models.FloatField(default=0)

    class Meta:
        ordering = ["role", "name", "id"]


class JoinToken(Table):
    """A one-time permission to join, kept as a hash. Writer: clc.services.hosts."""

    proof = models.CharField(max_length=64, unique=True)
    role = word(Role)
    expires_at = models.FloatField()
    used_by = models.CharField(max_length=20, default="", blank=True)
