"""The shapes and forms of groups, access roles, grants and shares."""

from __future__ import annotations

from rest_framework import serializers as s

from clc.web.api.shapes import word
from clc.web.rest import Form, Text
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyadb import paths


class GroupShape(s.Serializer):
    """A group."""

    id = s.CharField()
    path = s.CharField(allow_blank=True, help_text="Empty: that of everybody.")
    people = s.IntegerField(help_text="Who belong to it itself.")
    takes_requests = s.BooleanField(help_text="Anybody may ask for an account in it.")
    created_at = s.DateTimeField(allow_null=True)


class PathForm(Form):
    """Where a group is."""

    path = Text(max_length=4 * paths.LENGTH, help_text="A path like edu.school.class.")


class AccessRoleShape(s.Serializer):
    """A named set of permissions."""

    name = s.CharField()
    ready_made = s.BooleanField(help_text="It is the same in every cloud.")
    description = s.CharField(allow_blank=True)
    permissions = s.DictField(child=s.ListField(child=s.CharField()), help_text="Verbs by kind.")
    people = s.IntegerField(help_text="How many have it somewhere.")


class PermissionsForm(Form):
    """What a role gives."""

    permissions = s.DictField(child=s.ListField(child=Text(max_length=16), max_length=6), help_text="Verbs by kind.")


class AccessRoleForm(PermissionsForm):
    """A new role."""

    name = Text(max_length=63)
    description = Text(max_length=200, required=False, allow_blank=True, default="")


class GrantShape(s.Serializer):
    """Somebody has a role over a group and all below it."""

    id = s.CharField()
    user = s.CharField()
    role = s.CharField()
    group = s.CharField(allow_blank=True)
    created_at = s.DateTimeField()


class GrantForm(Form):
    """Who gets which role where."""

    user = Text(max_length=150)
    role = Text(max_length=63)
    group = Text(max_length=4 * paths.LENGTH, allow_blank=True, help_text="Empty: the whole cloud.")


class ShareShape(s.Serializer):
    """One resource is open to a person, or to a group and all below it."""

    id = s.CharField()
    kind = word(Kind)
    subject = s.CharField()
    verb = word(Verb)
    user = s.CharField(allow_null=True)
    group = s.CharField(allow_null=True)
    created_at = s.DateTimeField()


class ShareForm(Form):
    """What, with whom, and for what. A user or a group."""

    kind = Text(max_length=16, help_text="image or instance.")
    subject = Text(max_length=63, help_text="Its id or name.")
    verbs = s.ListField(child=Text(max_length=16), min_length=1, max_length=6)
    user = Text(max_length=150, required=False, allow_blank=True, default="")
    group = Text(max_length=4 * paths.LENGTH, required=False, allow_blank=True, default="", help_text="`everybody` for all.")


class PlaceForm(Form):
    """Where somebody belongs, and their access role there; what is left out stays."""

    role = Text(max_length=63, required=False, allow_blank=True, default="")
    group = Text(max_length=4 * paths.LENGTH, required=False, allow_blank=True, default="", help_text="`everybody` for no group.")


class ReasonShape(s.Serializer):
    """Why somebody may."""

    by = s.ChoiceField(choices=["admin", "owner", "role", "share"])
    role = s.CharField(allow_blank=True)
    at = s.CharField(allow_blank=True, help_text="The path the role was given at, or whom it is shared with.")
    verb = s.CharField(allow_blank=True)


class PermissionShape(s.Serializer):
    """Whether somebody may do that."""

    user = s.CharField()
    kind = word(Kind)
    subject = s.CharField()
    verb = word(Verb)
    allowed = s.BooleanField()
    reasons = ReasonShape(many=True)
    why_not = s.CharField(allow_blank=True)


class PermittedShape(s.Serializer):
    """Somebody who may do that, and why."""

    user = s.CharField()
    reasons = ReasonShape(many=True)
