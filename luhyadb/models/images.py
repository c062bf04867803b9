"""Tables: Image, ImageVersion, Comparison, Upload."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import Architecture, ImageState, Usage
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import EVERYBODY, Group
from luhyadb.models.people import Account


class Image(Table):
    """A name with an ordered list of versions, of which the newest ``keep_versions`` are kept (None: as many as the settings say; 0: all).

    ``live_name`` is its name until it is ``retired``, None afterwards: then
    another image may be called so. Writer: clc.services.images.
    """

    id = pk()
    name = models.CharField(max_length=63)
    live_name = models.CharField(max_length=63, null=True, unique=True, default=None)  # noqa: DJ001 - unique where set
    usage = word(Usage, default=Usage.SERVER)
    os_type = models.CharField(max_length=40, default="", blank=True)
    os_distro = models.CharField(max_length=40, default="", blank=True)
    architecture = word(Architecture, default=Architecture.X86_64)
    group = models.ForeignKey(Group, models.PROTECT, default=EVERYBODY)
    description = models.TextField(default="", blank=True)
    keep_versions = models.PositiveIntegerField(null=True, default=None)
    owner = models.ForeignKey(Account, models.PROTECT)
    retired = models.BooleanField(default=False)
    created_at = models.FloatField()

    class Meta:
        ordering = ["name"]


class ImageVersion(Table):
    """One immutable version; ``blobs`` lists its files, ``parts`` what became of each on its way in, ``hardware`` what guests of it get.

    One that is ``pinned`` is never retired by a rule. Writer: clc.services.images.
    """

    image = models.ForeignKey(Image, models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    state = word(ImageState, default=ImageState.DRAFT)
    blobs = models.JSONField(default=list)
    parts = models.JSONField(default=list)
    cmdline = models.CharField(max_length=1024, default="", blank=True)
    hardware = models.JSONField(default=dict)
    pinned = models.BooleanField(default=False)
    task = models.CharField(max_length=20, default="", blank=True)
    why = models.TextField(default="", blank=True)
    note = models.TextField(default="", blank=True)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, default=None)
    created_at = models.FloatField()
    published_at = models.FloatField(default=0)

    class Meta:
        ordering = ["image", "version"]
        constraints = [models.UniqueConstraint(fields=["image", "version"], name="one_version_number")]


class Comparison(Table):
    """What two versions of an image share, as the store told it to ``task``; None as long as it has not. Writer: clc.services.comparisons."""

    one = models.ForeignKey(ImageVersion, models.CASCADE, related_name="+")
    other = models.ForeignKey(ImageVersion, models.CASCADE, related_name="+")
    task = models.CharField(max_length=20, db_index=True)
    difference = models.JSONField(null=True, default=None)

    class Meta:
        ordering = ["one", "other"]
        constraints = [models.UniqueConstraint(fields=["one", "other"], name="compared_once")]


class Upload(Table):
    """An upload that is under way. Writer: clc.services.uploads."""

    id = models.CharField(max_length=40, primary_key=True)
    version = models.OneToOneField(ImageVersion, models.CASCADE, related_name="upload")
    account = models.ForeignKey(Account, models.CASCADE)
    parts = models.JSONField(default=list)
    created_at = models.FloatField()
