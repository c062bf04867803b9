"""/api/v1/users/NAME/departure/: deleting an account with a choice for what it owns."""

from __future__ import annotations

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import departure_pictures, departures, people
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, FaultShape, PersonShape, says
from clc.web.rest import Form, Text
from luhyaapi.contracts.vocabulary import Verb
from luhyaapi.errors import Refused

TAG = "users"


class OwnsShape(s.Serializer):
    """All of one kind that an account owns."""

    kind = s.CharField()
    count = s.IntegerField()
    names = s.ListField(child=s.CharField(), help_text="The first ten.")
    ends_anyway = s.BooleanField(help_text="It is nobody's when its owner is no more, and holds nothing up.")


class UnderWayShape(s.Serializer):
    """An account that is being deleted with everything."""

    by = s.CharField()
    asked_at = s.DateTimeField()
    trouble = FaultShape(allow_null=True, help_text="What the next thing waits for.")


class DepartureShape(s.Serializer):
    """What an account owns, and whether it is being deleted."""

    username = s.CharField()
    owns = OwnsShape(many=True)
    needed_by_others = s.ListField(child=s.CharField(), help_text="Images of it that others use: they can be given, and not deleted.")
    under_way = UnderWayShape(allow_null=True)


class DeletedShape(s.Serializer):
    """What became of it."""

    username = s.CharField()
    deleted = s.BooleanField(help_text="False: what it owns is being deleted, and then it is.")
    given_to = s.CharField(allow_blank=True)


class DepartureForm(Form):
    """What shall become of what it owns: one of both."""

    give_to = Text(max_length=150, required=False, allow_blank=True, default="", help_text="Everything is this account's from now on.")
    with_everything = s.BooleanField(required=False, default=False, help_text="It is deleted too.")
    override_limits = s.BooleanField(required=False, default=False, help_text="Also past the limits of who gets it (administrators).")


class Departure(Endpoint):
    """An account on its way out."""

    @says(DepartureShape, tag=TAG, operation_id="users_departure")
    def get(self, _request: Request, user: str) -> Response:
        """Show what an account owns, by kind, before it is deleted; and how far it is while that goes on (who may delete it)."""
        return Response(departure_pictures.departure(people.find(self.account, user, Verb.DELETE)))

    @says(DeletedShape, 202, sends=DepartureForm, parameters=[KEY], tag=TAG, operation_id="users_depart")
    @once
    def post(self, _request: Request, user: str) -> Response:
        """Delete an account and give what it owns to another one, or delete that too (who may delete it).

        With everything, nobody signs in to it any more; it is gone when the last of it is. It can be cancelled until then.
        """
        sent = self.sent(DepartureForm)
        if bool(sent["give_to"]) == sent["with_everything"]:
            raise Refused("invalid", "What shall become of what they own?", "give it to somebody, or delete everything", field="give_to")
        found = people.find(self.account, user)
        if sent["with_everything"]:
            gone, owner = departures.begin(self.account, found.username), ""
        else:
            owner = departures.give(self.account, found.username, sent["give_to"], override_limits=sent["override_limits"]).username
            gone = True
        return Response({"username": found.username, "deleted": gone, "given_to": owner}, 202)

    @says(PersonShape, tag=TAG, operation_id="users_departure_cancel")
    def delete(self, _request: Request, user: str) -> Response:
        """Keep an account that is being deleted with everything, and what is left of that."""
        from clc.services import pictures

        return Response(pictures.person(departures.cancel(self.account, user)))
