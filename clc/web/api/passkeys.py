"""/api/v1/users/me/passkeys/: passkeys are added in a browser; here they are listed, named and removed."""

from __future__ import annotations

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import passkeys, people, sign_in_pictures
from clc.web.api.endpoint import Endpoint, proved
from clc.web.api.once import once
from clc.web.api.shapes import KEY, many, says
from clc.web.api.sign_ins import TAG, AgainForm
from clc.web.rest import Form, Text


class PasskeyShape(s.Serializer):
    """A passkey, without its key."""

    id = s.CharField()
    name = s.CharField()
    created_at = s.DateTimeField()
    used_at = s.DateTimeField(allow_null=True)


class PasskeyNameForm(Form):
    """What it is called."""

    name = Text(max_length=200)


class Passkeys(Endpoint):
    """One's own passkeys."""

    signs_in = True

    @says(many("Passkey", PasskeyShape), tag=TAG, operation_id="passkeys_list")
    def get(self, _request: Request) -> Response:
        """List one's own passkeys."""
        return Response({"results": [sign_in_pictures.passkey(row) for row in passkeys.of(self.account)], "next": None})


class OnePasskey(Endpoint):
    """One passkey."""

    signs_in = True

    @says(PasskeyShape, sends=PasskeyNameForm, tag=TAG, operation_id="passkeys_rename")
    def patch(self, _request: Request, passkey: str) -> Response:
        """Call a passkey of one's own otherwise."""
        return Response(sign_in_pictures.passkey(passkeys.rename(self.account, passkey, self.sent(PasskeyNameForm)["name"])))


class RemovePasskey(Endpoint):
    """A passkey that shall sign in no more."""

    signs_in = True

    @says(None, 204, sends=AgainForm, parameters=[KEY], tag=TAG, operation_id="passkeys_remove")
    @proved(AgainForm)
    @once
    def post(self, _request: Request, passkey: str) -> Response:
        """Remove a passkey of one's own."""
        passkeys.remove(self.account, passkey)
        return Response(status=204)


class PasskeysOf(Endpoint):
    """Somebody's passkeys."""

    @says(None, 204, tag=TAG, operation_id="users_passkeys_remove")
    def delete(self, _request: Request, user: str) -> Response:
        """Remove all passkeys of somebody who lost the device (administrators)."""
        passkeys.remove_for(self.account, people.find(self.account, user))
        return Response(status=204)
