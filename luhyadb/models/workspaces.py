"""Table: Workspace."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import WorkspaceState
from luhyadb.models.base import Table, pk, word
from luhyadb.models.images import ImageVersion
from luhyadb.models.instances import Instance
from luhyadb.models.people import Account


class Workspace(Table):
    """A private disk over a version, in which somebody makes the next one; ``name`` is that of the image it becomes a version of.

    ``task`` is what is, or was last, done for it; ``version`` what it becomes. Writer: clc.services.workspaces.
    """

    id = pk()
    state = word(WorkspaceState, default=WorkspaceState.PREPARING)
    name = models.CharField(max_length=63)
    is_new = models.BooleanField(default=False)
    base = models.ForeignKey(ImageVersion, models.PROTECT, related_name="workspaces")
    owner = models.ForeignKey(Account, models.PROTECT)
    instance = models.OneToOneField(Instance, models.PROTECT, related_name="workspace")
    task = models.CharField(max_length=20, default="")
    note = models.TextField(default="", blank=True)
    description = models.TextField(default="", blank=True)
    version = models.OneToOneField(ImageVersion, models.SET_NULL, null=True, default=None, related_name="workspace")
    error = models.JSONField(null=True, default=None)
    created_at = models.FloatField()
    changed_at = models.FloatField()

    class Meta:
        ordering = ["-created_at", "id"]
