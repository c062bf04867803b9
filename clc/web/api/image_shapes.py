"""The answers about the versions of an image: which stay, who needs them, what they share, where they come from."""

from __future__ import annotations

from rest_framework import serializers as s

from clc.web.api.shapes import word
from luhyaapi.contracts.vocabulary import ImageState


class AmountShape(s.Serializer):
    """Blocks, each counted once and holes not at all, and the bytes they hold."""

    blocks = s.IntegerField()
    bytes = s.IntegerField()


class DifferenceShape(s.Serializer):
    """What two versions share."""

    one = s.IntegerField()
    other = s.IntegerField()
    only_one = AmountShape()
    only_other = AmountShape()
    shared = AmountShape()


class LineageShape(s.Serializer):
    """Where a version comes from."""

    version = s.IntegerField()
    state = word(ImageState)
    came = s.ChoiceField(choices=["upload", "change", "back", "copy"],
                         help_text="brought in, made from a version of this image, an older one again, or made from another image")
    lane = s.IntegerField(help_text="versions that follow each other share one; a branch begins another")
    parent = s.CharField(allow_null=True, help_text="name:version")
    parent_version = s.IntegerField(allow_null=True, help_text="where the parent is of the same image")
    note = s.CharField()
    by = s.CharField()
    made = s.ListField(child=s.CharField(), help_text="name:version of what was made from it in other images")
    pinned = s.BooleanField()
    created_at = s.DateTimeField()


class UseShape(s.Serializer):
    """One that needs a version."""

    kind = s.ChoiceField(choices=["instance", "workspace", "prefetch", "draft"])
    id = s.CharField()
    name = s.CharField()


class VersionUsesShape(s.Serializer):
    """Who needs a version."""

    version = s.IntegerField()
    state = word(ImageState)
    used_by = UseShape(many=True)


class VerdictShape(s.Serializer):
    """Whether a version stays."""

    version = s.IntegerField()
    goes = s.BooleanField()
    because = s.ChoiceField(choices=["new", "pinned", "used", ""], help_text="what keeps it; empty: nothing")
    used_by = UseShape(many=True)


class RetentionShape(s.Serializer):
    """Which versions of an image stay."""

    keep = s.IntegerField(help_text="how many of the newest are kept; 0: all")
    is_default = s.BooleanField(help_text="the image itself says nothing")
    versions = VerdictShape(many=True)
    went = VerdictShape(many=True, help_text="what was retired just now")
