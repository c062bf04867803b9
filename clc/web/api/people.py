"""/api/v1/login/ and /api/v1/users/: who may sign in, and by which password."""

from __future__ import annotations

from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import lock_out, people, pictures, second_step, sign_in
from clc.web.api.endpoint import Endpoint, proved
from clc.web.api.once import once
from clc.web.api.shapes import KEY, PAGES, AccountShape, LoginShape, PersonShape, listed, says
from clc.web.rest import Form, Nothing, Text, narrowed, page
from luhyaapi import clock

TAG = "users"


class LoginForm(Form):
    """Name and password, and the code of the second step where the account has one."""

    username = Text(max_length=150)
    password = Text(max_length=1024)
    code = Text(max_length=40, required=False, default="")


class UserForm(Form):
    """A new account."""

    username = Text(max_length=150)
    password = Text(max_length=1024)
    role = Text(max_length=63, required=False, default="user", help_text="Its access role.")
    group = Text(max_length=2800, required=False, allow_blank=True, default="", help_text="The path of its group; empty: that of who adds it.")


class PasswordForm(Form):
    """A new password."""

    password = Text(max_length=1024)


class MyPasswordForm(PasswordForm):
    """A new password of one's own, and the one it replaces."""

    current_password = Text(max_length=1024)


class Login(Endpoint):
    """Signing in."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @says(LoginShape, sends=LoginForm, tag=TAG, operation_id="login")
    def post(self, _request: Request) -> Response:
        """Make a token for the command line: it ends after 30 days without use, after 90 in any case, and with the password.

        Where the account has a second step and no code is given, the error's code is `second_step`. Too many wrong attempts
        are `locked_out` (429) until the time that is named.
        """
        sent = self.sent(LoginForm)
        row, text = sign_in.token(sent["username"], sent["password"], sent["code"], self.address)
        return Response({"token": text, "expires_at": clock.rfc3339(row.expires_at), "password_change": row.account.must_change_password})


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

    new_password = True

    @says(AccountShape, tag=TAG, operation_id="users_me")
    def get(self, _request: Request) -> Response:
        """Show who is signed in."""
        return Response(pictures.account(self.account))


class MyPassword(Endpoint):
    """One's own password."""

    signs_in = new_password = True

    @says(None, 204, sends=MyPasswordForm, parameters=[KEY], tag=TAG, operation_id="users_me_password")
    @proved(MyPasswordForm)
    @once
    def post(self, _request: Request) -> Response:
        """Change one's own password; every token and session of the account ends."""
        people.set_password(self.account, self.sent(MyPasswordForm)["password"])
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
        """Set somebody's password, good for choosing another one; every token and session of the account ends (who manages people)."""
        people.set_password(people.find(self.account, user), self.sent(PasswordForm)["password"], by=self.account)
        return Response(status=204)


class Deactivate(Endpoint):
    """Somebody who shall not sign in for now."""

    @says(PersonShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="users_deactivate")
    @once
    def post(self, _request: Request, user: str) -> Response:
        """Have nobody sign in to an account; its sessions and tokens end at once, what it owns stays."""
        self.sent(Nothing)
        people.deactivate(self.account, user)
        return Response(pictures.person(people.find(self.account, user)))


class Reactivate(Endpoint):
    """Somebody who may sign in again."""

    @says(PersonShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="users_reactivate")
    @once
    def post(self, _request: Request, user: str) -> Response:
        """Have an account that was deactivated sign in again."""
        self.sent(Nothing)
        people.reactivate(self.account, user)
        return Response(pictures.person(people.find(self.account, user)))


class Unlock(Endpoint):
    """Somebody who waits after wrong passwords."""

    @says(PersonShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="users_unlock")
    @once
    def post(self, _request: Request, user: str) -> Response:
        """Forget the wrong passwords that were tried for an account, so that nobody has to wait."""
        self.sent(Nothing)
        found = people.find(self.account, user)
        lock_out.lift(self.account, found)
        return Response(pictures.person(found))


class UserSecondStep(Endpoint):
    """The second step of one account."""

    @says(None, 204, tag=TAG, operation_id="users_second_step_remove")
    def delete(self, _request: Request, user: str) -> Response:
        """Turn off the second step of somebody who lost the phone."""
        found = people.find(self.account, user)
        second_step.remove_for(self.account, found)
        return Response(status=204)
