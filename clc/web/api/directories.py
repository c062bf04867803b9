"""/api/v1/directories/: where people have an account already, and where that puts them here. For administrators."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import directories, directory_checks, directory_pictures
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, many, says
from clc.web.rest import Form, Text
from luhyadb import paths

TAG = "directories"
# What asks a directory is not done `once`: that would keep a transaction open for as long as it takes. Said again it is the same.
_LONG = 4 * paths.LENGTH


class Settings(s.DictField):
    """Values by the names of settings; which there are says docs/accounts.md."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=s.JSONField(), help_text="By name; what is not given is as usual.", **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Texts, numbers and truths."""
        found: dict[str, Any] = super().to_internal_value(data)
        for name, value in found.items():
            if not isinstance(value, str | int | float | bool):
                raise s.ValidationError({name[:40]: "a text, a number or a truth is expected"})
        return found


class MappingShape(s.Serializer):
    """A line of the table: who has that value belongs there."""

    id = s.CharField()
    attribute = s.CharField()
    value = s.CharField()
    group = s.CharField()
    role = s.CharField()


class ListedDirectoryShape(s.Serializer):
    """A directory in short."""

    id = s.CharField()
    name = s.CharField()
    kind = s.CharField(help_text="ldap or oidc")
    enabled = s.BooleanField()
    people = s.IntegerField(help_text="Accounts here that are its people's.")
    address = s.CharField()
    trouble = s.CharField(allow_blank=True, help_text="Why its people could not be looked at last time.")
    missing = s.IntegerField(help_text="People it knows no more, who wait for an administrator's word.")
    checked_at = s.DateTimeField(allow_null=True)


class DirectoryShape(s.Serializer):
    """A directory; its secret is told to nobody."""

    id = s.CharField()
    name = s.CharField()
    kind = s.CharField(help_text="ldap or oidc")
    enabled = s.BooleanField()
    settings = s.DictField(child=s.JSONField())
    has_secret = s.BooleanField()
    role = s.CharField(help_text="The access role of whom no mapping knows.")
    group = s.CharField(allow_null=True, help_text="The group of whom no mapping knows; null: they are refused.")
    units = s.CharField(allow_null=True, help_text="The group below which organizational units are paths; null: they are not.")
    people = s.IntegerField()
    mappings = MappingShape(many=True)
    created_at = s.DateTimeField()
    checked_at = s.DateTimeField(allow_null=True)
    trouble = s.CharField(allow_blank=True)
    missing = s.IntegerField()
    held = s.ListField(child=s.CharField(), help_text="The first of those who wait for an administrator's word.")


class TestStepShape(s.Serializer):
    """One thing that works, or the first that does not."""

    ok = s.BooleanField()
    text = s.CharField()
    why = s.CharField(allow_blank=True)
    hint = s.CharField(allow_blank=True)


class TestedDirectoryShape(s.Serializer):
    """What a test found."""

    ok = s.BooleanField()
    steps = TestStepShape(many=True)


class BroughtInLineShape(s.Serializer):
    """What becomes of one of a directory's people."""

    username = s.CharField()
    action = s.CharField(help_text="add, same, move or wrong")
    why = s.CharField(allow_blank=True)
    group = s.CharField(allow_blank=True)
    role = s.CharField(allow_blank=True)


class BroughtInShape(s.Serializer):
    """What becomes of all people of a directory."""

    done = s.BooleanField(help_text="False: nothing is changed.")
    counts = s.DictField(child=s.IntegerField())
    new_groups = s.ListField(child=s.CharField())
    lines = BroughtInLineShape(many=True)


class CheckedDirectoryShape(s.Serializer):
    """How the accounts of a directory were found."""

    accounts = s.IntegerField()
    deactivated = s.ListField(child=s.CharField())
    held = s.ListField(child=s.CharField(), help_text="More than a tenth are gone: they wait for an administrator's word.")


class ChangedDirectoryForm(Form):
    """Other settings; what is not given stays."""

    settings = Settings(required=False)
    secret = Text(max_length=1024, required=False, allow_blank=True, write_only=True, help_text="The bind DN's password, or the client's secret.")
    enabled = s.BooleanField(required=False)
    role = Text(max_length=63, required=False)
    group = Text(max_length=_LONG, required=False, allow_null=True)
    units = Text(max_length=_LONG, required=False, allow_null=True)


class DirectoryForm(Form):
    """A new directory."""

    name = Text(max_length=32)
    preset = s.ChoiceField(choices=list(directories.PRESETS), required=False, default="openldap")
    settings = Settings()
    secret = Text(max_length=1024, required=False, allow_blank=True, default="", write_only=True)
    enabled = s.BooleanField(required=False, default=False, help_text="Whether people sign in by it.")
    role = Text(max_length=63, required=False, default="user")
    group = Text(max_length=_LONG, required=False, allow_null=True, default=None)
    units = Text(max_length=_LONG, required=False, allow_null=True, default=None)


class RemovedDirectoryForm(Form):
    """Whether its accounts are deactivated and stay."""

    with_accounts = s.BooleanField(required=False, default=False)


class MappingForm(Form):
    """A new line of the table."""

    attribute = Text(max_length=64, required=False, default="memberOf")
    value = Text(max_length=500)
    group = Text(max_length=_LONG)
    role = Text(max_length=63, required=False, default="user")


class TestedForm(Form):
    """Whom to look for, if anybody."""

    user = Text(max_length=150, required=False, allow_blank=True, default="")


class CheckForm(Form):
    """An administrator's word."""

    deactivate = s.BooleanField(required=False, default=False, help_text="Also more than a tenth.")


class BringInForm(Form):
    """Whether only to look."""

    preview = s.BooleanField(required=False, default=False)


class Directories(Endpoint):
    """All directories."""

    @says(many("Directory", ListedDirectoryShape), tag=TAG, operation_id="directories_list")
    def get(self, _request: Request) -> Response:
        """List directories, in the order in which they are asked (administrators)."""
        return Response({"results": directory_pictures.listed(directories.every(self.account)), "next": None})

    @says(DirectoryShape, 201, sends=DirectoryForm, parameters=[KEY], tag=TAG, operation_id="directories_add")
    @once
    def post(self, _request: Request) -> Response:
        """Add a directory (administrators). Nobody signs in by it before it is enabled: test it first."""
        sent = self.sent(DirectoryForm)
        return Response(directory_pictures.directory(directories.add(self.account, sent.pop("name"), sent.pop("preset"), sent.pop("settings"), **sent)), 201)


class OneDirectory(Endpoint):
    """One directory, by name or id."""

    @says(DirectoryShape, tag=TAG, operation_id="directories_show")
    def get(self, _request: Request, directory: str) -> Response:
        """Show a directory with its mappings (administrators)."""
        return Response(directory_pictures.directory(directories.find(self.account, directory)))

    @says(DirectoryShape, sends=ChangedDirectoryForm, tag=TAG, operation_id="directories_change")
    def patch(self, _request: Request, directory: str) -> Response:
        """Change settings; a secret is forgotten when the address changes and none is given (administrators)."""
        sent = self.sent(ChangedDirectoryForm)
        return Response(directory_pictures.directory(directories.change(self.account, directory, sent.pop("settings", None), **sent)))


class RemoveDirectory(Endpoint):
    """A directory that is asked no more."""

    @says(None, 204, sends=RemovedDirectoryForm, parameters=[KEY], tag=TAG, operation_id="directories_remove")
    @once
    def post(self, _request: Request, directory: str) -> Response:
        """Remove a directory; with its accounts, which are deactivated and stay (administrators)."""
        directories.remove(self.account, directory, with_accounts=self.sent(RemovedDirectoryForm)["with_accounts"])
        return Response(status=204)


class Mappings(Endpoint):
    """The table of a directory."""

    @says(MappingShape, 201, sends=MappingForm, parameters=[KEY], tag=TAG, operation_id="directories_map")
    @once
    def post(self, _request: Request, directory: str) -> Response:
        """Add a line to the table: who has that value belongs to that group with that access role (administrators)."""
        return Response(directory_pictures.mapping(directories.map_to(self.account, directory, **self.sent(MappingForm))), 201)


class OneMapping(Endpoint):
    """A line of the table."""

    @says(None, 204, tag=TAG, operation_id="directories_unmap")
    def delete(self, _request: Request, directory: str, mapping: str) -> Response:
        """Take a line out of the table (administrators)."""
        directories.unmap(self.account, directory, mapping)
        return Response(status=204)


class TestDirectory(Endpoint):
    """Whether it can be used."""

    @says(TestedDirectoryShape, sends=TestedForm, parameters=[KEY], tag=TAG, operation_id="directories_test")
    def post(self, _request: Request, directory: str) -> Response:
        """Say step by step what works, and the first thing that does not; of a user, where they belong. Nothing is changed (administrators)."""
        return Response(directory_pictures.steps(directory_checks.look_into(self.account, directory, self.sent(TestedForm)["user"])))


class CheckDirectory(Endpoint):
    """Who is gone."""

    @says(CheckedDirectoryShape, sends=CheckForm, parameters=[KEY], tag=TAG, operation_id="directories_check")
    def post(self, _request: Request, directory: str) -> Response:
        """Bring its accounts up to date now, and deactivate those it knows no more: up to a tenth, or all by an administrator's word (administrators)."""
        row = directories.find(self.account, directory)
        by = self.account if self.sent(CheckForm)["deactivate"] else None
        return Response(directory_pictures.checked(directory_checks.check(row, by=by)))


class BringIn(Endpoint):
    """All people of a directory."""

    @says(BroughtInShape, sends=BringInForm, parameters=[KEY], tag=TAG, operation_id="directories_import")
    def post(self, _request: Request, directory: str) -> Response:
        """Make and move the accounts of all its people, before they sign in; `preview`: only say what would become of each (administrators)."""
        preview = self.sent(BringInForm)["preview"]
        return Response(directory_pictures.batch(directory_checks.bring_in(self.account, directory, preview=preview), done=not preview))
