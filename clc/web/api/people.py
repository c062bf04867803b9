"""/api/v1/login/ and /api/v1/users/: who may sign in."""

from __future__ import annotations

from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import people, pictures
from clc.web.api.attempts import Attempts
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, PAGES, AccountShape, LoginShape, PersonShape, listed, says
from clc.web.rest import Form, Text, narrowed, page

TAG = "users"
_attempts = Attempts()


class LoginForm(Form):
    """Name and password."""

    username = Text(max_length=150)
    password = Text(max_length=1024)


class UserForm(Form):
    """A new account."""

    username = Text(max_length=150)
    password = Text(max_length=1024)
    role = Text(max_length=63, required=False, default="user", help_text="Its access role.")
    group = Text(max_length=2800, required=False, allow_blank=True, default="", help_text="The path of its group; empty: that of who adds it.")


class PasswordForm(Form):
    """A new password."""

    password = Text(max_length=1024)


class Login(Endpoint):
    """Signing in."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @says(LoginShape, sends=LoginForm, tag=TAG, operation_id="login")
    def post(self, request: Request) -> Response:
        """Make a token for the command line. It does not expire; a new password ends it."""
        sent = self.sent(LoginForm)
        who = str(request.META.get("REMOTE_ADDR", "")), sent["username"].casefold()
        with _attempts.of(who):
            token = people.sign_in(sent["username"], sent["password"])
        return Response({"token": token, "expires_at": None})


class Users(Endpoint):
    """All accounts."""

    @says(listed("Account", AccountShape), parameters=PAGES, tag=TAG, operation_id="users_list")
    def get(self, request: Request) -> Response:
        """List accounts (who manages people)."""
        rows = narrowed(request, people.known(self.account), {})
        return page(request, rows, pictures.accounts, by="id", newest=False)

    @says(AccountShape, 201, sends=UserForm, parameters=[KEY], tag=TAG, operation_id="users_add")
    @once
    def post(self, _request: Request) -> Response:
        """Add an account (who manages people)."""
        return Response(pictures.account(people.add(self.account, **self.sent(UserForm))), 201)


class Me(Endpoint):
    """One's own account."""

    @says(AccountShape, tag=TAG, operation_id="users_me")
    def get(self, _request: Request) -> Response:
        """Show who is signed in."""
        return Response(pictures.account(self.account))


class MyPassword(Endpoint):
    """One's own password."""

    @says(None, 204, sends=PasswordForm, parameters=[KEY], tag=TAG, operation_id="users_me_password")
    @once
    def post(self, _request: Request) -> Response:
        """Change one's own password; every token and session of the account ends."""
        people.set_password(self.account, self.sent(PasswordForm)["password"])
        return Response(status=204)


class OneUser(Endpoint):
    """One account, by its name."""

    @says(PersonShape, tag=TAG, operation_id="users_show")
    def get(self, _request: Request, user: str) -> Response:
        """Show an account and how many instances it has (who manages people)."""
        return Response(pictures.person(people.find(self.account, user)))

    @says(None, 204, tag=TAG, operation_id="users_delete")
    def delete(self, _request: Request, user: str) -> Response:
        """Delete an account that owns no instances; its sessions and tokens end at once (who manages people)."""
        people.delete(self.account, user)
        return Response(status=204)


class UserPassword(Endpoint):
    """The password of one account."""

    @says(None, 204, sends=PasswordForm, parameters=[KEY], tag=TAG, operation_id="users_password")
    @once
    def post(self, _request: Request, user: str) -> Response:
        """Set somebody's password; every token and session of the account ends (who manages people)."""
        people.set_password(people.find(self.account, user), self.sent(PasswordForm)["password"], by=self.account)
        return Response(status=204)
