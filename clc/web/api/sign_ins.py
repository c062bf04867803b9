"""/api/v1/tokens/, /api/v1/sessions/ and the second step: what an account is signed in with."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import people, second_step, sessions, sign_in_pictures, tokens
from clc.web.api.endpoint import Endpoint, proved
from clc.web.api.once import once
from clc.web.api.shapes import KEY, PAGES, listed, says
from clc.web.rest import Form, Nothing, Text, Whole, narrowed, page

TAG = "sign-ins"


class ApiTokenForm(Form):
    """A new token: its name, what it may do, and after how many days it ends."""

    name = Text(max_length=200)
    scope = Text(max_length=20, required=False, default=tokens.ALL)
    days = Whole(required=False, default=365, min_value=1, max_value=365)


class AgainForm(Form):
    """The password, once more."""

    current_password = Text(max_length=1024)


class CodeForm(Form):
    """What the app shows."""

    code = Text(max_length=40)


class ApiTokenShape(s.Serializer):
    """An API token, without what is secret of it."""

    id = s.CharField()
    name = s.CharField()
    username = s.CharField()
    scope = s.CharField(help_text="all: what the account may; read: nothing but reading")
    signed_in = s.BooleanField(help_text="made by `educloud login`, and renewed by use")
    current = s.BooleanField(help_text="the one this was asked with")
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField()
    used_at = s.DateTimeField(allow_null=True)
    used_from = s.CharField()


class NewApiTokenShape(ApiTokenShape):
    """An API token; its text is told this once."""

    token = s.CharField()


class SessionShape(s.Serializer):
    """A browser that is signed in."""

    id = s.CharField()
    username = s.CharField()
    current = s.BooleanField(help_text="the one this was asked with")
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField()
    used_at = s.DateTimeField()
    address = s.CharField(help_text="where it signed in")
    agent = s.CharField(help_text="what the browser says it is")
    browser = s.CharField(help_text="the same in short")


class SecondStepShape(s.Serializer):
    """Whether signing in needs a code."""

    on = s.BooleanField()
    recovery_codes_left = s.IntegerField()


class EnrolmentShape(s.Serializer):
    """What an authenticator app has to know, told this once."""

    secret = s.CharField(help_text="base32")
    uri = s.CharField(help_text="otpauth://")
    qr = s.CharField(help_text="the same as a picture: data:image/svg+xml")


class CodesShape(s.Serializer):
    """Recovery codes, told this once."""

    recovery_codes = s.ListField(child=s.CharField())


_TOKENS, _SESSIONS = listed("ApiToken", ApiTokenShape), listed("Session", SessionShape)


class _OfTokens(Endpoint):
    signs_in = True

    def listed(self, request: Request, rows: Any) -> Response:
        """A page of tokens."""
        here = getattr(request.auth, "pk", "")
        return page(request, narrowed(request, rows, {}), lambda found: [sign_in_pictures.token(r, here) for r in found])


class Tokens(_OfTokens):
    """One's own tokens."""

    @says(_TOKENS, parameters=PAGES, tag=TAG, operation_id="tokens_list")
    def get(self, request: Request) -> Response:
        """List one's own API tokens, the newest first."""
        return self.listed(request, tokens.of(self.account, self.account))

    @says(NewApiTokenShape, 201, sends=ApiTokenForm, parameters=[KEY], tag=TAG, operation_id="tokens_create")
    @once
    def post(self, _request: Request) -> Response:
        """Make an API token. Not possible with a token that was made so: sign in for it."""
        sent = self.sent(ApiTokenForm)
        row, text = tokens.make(self.account, sent["name"], sent["scope"], sent["days"] * tokens.DAY_S)
        return Response(sign_in_pictures.token(row, "") | {"token": text}, 201)


class TokensOf(_OfTokens):
    """Somebody's tokens."""

    @says(_TOKENS, parameters=PAGES, tag=TAG, operation_id="users_tokens")
    def get(self, request: Request, user: str) -> Response:
        """List the API tokens of an account (administrators)."""
        return self.listed(request, tokens.of(self.account, people.find(self.account, user)))


class OneToken(Endpoint):
    """One token."""

    signs_in = True

    @says(None, 204, tag=TAG, operation_id="tokens_revoke")
    def delete(self, _request: Request, token: str) -> Response:
        """Revoke a token: one's own, as an administrator any."""
        tokens.revoke(self.account, token)
        return Response(status=204)


class _OfSessions(Endpoint):
    signs_in = True

    def listed(self, request: Request, rows: Any) -> Response:
        """A page of sessions."""
        here = sessions.ident_of(getattr(request, "session", None))
        return page(request, narrowed(request, rows, {}), lambda found: [sign_in_pictures.session(r, here) for r in found], by="used_at")


class Sessions(_OfSessions):
    """One's own sessions."""

    @says(_SESSIONS, parameters=PAGES, tag=TAG, operation_id="sessions_list")
    def get(self, request: Request) -> Response:
        """List the browsers one is signed in with."""
        return self.listed(request, sessions.of(self.account, self.account))


class SessionsOf(_OfSessions):
    """Somebody's sessions."""

    @says(_SESSIONS, parameters=PAGES, tag=TAG, operation_id="users_sessions")
    def get(self, request: Request, user: str) -> Response:
        """List the browsers an account is signed in with (administrators)."""
        return self.listed(request, sessions.of(self.account, people.find(self.account, user)))


class OneSession(Endpoint):
    """One session."""

    signs_in = True

    @says(None, 204, tag=TAG, operation_id="sessions_end")
    def delete(self, _request: Request, session: str) -> Response:
        """Sign a browser out: one's own, as an administrator any. Its open streams and screens end within a second."""
        sessions.end(self.account, session)
        return Response(status=204)


class EndOthers(Endpoint):
    """All sessions but this one."""

    signs_in = True

    @says(None, 204, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="sessions_end_others")
    @once
    def post(self, request: Request) -> Response:
        """Sign out all browsers of one's own account but the one that asks."""
        self.sent(Nothing)
        sessions.end_others(self.account, sessions.ident_of(getattr(request, "session", None)))
        return Response(status=204)


class MySecondStep(Endpoint):
    """One's own second step."""

    signs_in = True

    @says(SecondStepShape, tag=TAG, operation_id="second_step_show")
    def get(self, _request: Request) -> Response:
        """Show whether signing in needs a code."""
        return Response(sign_in_pictures.second_step_of(self.account))

    @says(EnrolmentShape, 201, sends=AgainForm, parameters=[KEY], tag=TAG, operation_id="second_step_enrol")
    @proved(AgainForm)
    @once
    def post(self, _request: Request) -> Response:
        """Begin to turn it on: a secret for an authenticator app. It is on once a code of it was confirmed."""
        made = second_step.enrol(self.account)
        return Response({"secret": made.secret, "uri": made.uri, "qr": made.qr}, 201)


class Confirm(Endpoint):
    """The first code of an app."""

    signs_in = True

    @says(CodesShape, sends=CodeForm, parameters=[KEY], tag=TAG, operation_id="second_step_confirm")
    @once
    def post(self, _request: Request) -> Response:
        """Turn it on by a code of the app; the answer is the recovery codes."""
        return Response({"recovery_codes": second_step.confirm(self.account, self.sent(CodeForm)["code"])})


class Remove(Endpoint):
    """No second step any more."""

    signs_in = True

    @says(None, 204, sends=AgainForm, parameters=[KEY], tag=TAG, operation_id="second_step_remove")
    @proved(AgainForm)
    @once
    def post(self, _request: Request) -> Response:
        """Turn one's own second step off."""
        second_step.remove(self.account)
        return Response(status=204)


class RecoveryCodes(Endpoint):
    """Other recovery codes."""

    signs_in = True

    @says(CodesShape, sends=AgainForm, parameters=[KEY], tag=TAG, operation_id="second_step_recovery_codes")
    @proved(AgainForm)
    @once
    def post(self, _request: Request) -> Response:
        """Make new recovery codes; older ones are worth nothing."""
        return Response({"recovery_codes": second_step.new_recovery_codes(self.account)})
