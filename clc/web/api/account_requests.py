"""/api/v1/account-requests/: asking for an account without having one, and deciding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rest_framework import serializers as s
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import account_requests, groups, pictures, request_pictures, right_pictures
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.right_shapes import GroupShape
from clc.web.api.shapes import KEY, PAGES, AccountShape, asks, listed, says, word
from clc.web.rest import Filters, Form, Text, narrowed, page
from luhyaapi.contracts.vocabulary import RequestState
from luhyadb import paths

TAG = "account requests"


class AccountRequestShape(s.Serializer):
    """A request for an account, as who decides sees it."""

    id = s.CharField()
    state = word(RequestState)
    username = s.CharField()
    display_name = s.CharField(allow_blank=True)
    email = s.CharField(allow_blank=True)
    group = s.CharField(allow_blank=True)
    reason = s.CharField(allow_blank=True)
    name_is_taken = s.BooleanField(help_text="It can be approved with another user name only.")
    created_at = s.DateTimeField()
    decided_at = s.DateTimeField(allow_null=True)
    decided_by = s.CharField(allow_blank=True)
    why = s.CharField(allow_blank=True)


class MyRequestShape(s.Serializer):
    """The state of one's own request."""

    state = word(RequestState)
    username = s.CharField(help_text="To sign in with, once it is approved.")
    group = s.CharField(allow_blank=True)
    created_at = s.DateTimeField()
    decided_at = s.DateTimeField(allow_null=True)
    why = s.CharField(allow_blank=True)


class RequestCodeShape(s.Serializer):
    """What the state of a request is looked at with, told this once."""

    code = s.CharField()


class AskForm(Form):
    """Who asks, and for what."""

    username = Text(max_length=150)
    password = Text(max_length=1024)
    group = Text(max_length=4 * paths.LENGTH, help_text="The path of a group that takes requests.")
    display_name = Text(max_length=400, required=False, allow_blank=True, default="")
    email = Text(max_length=400, required=False, allow_blank=True, default="")
    reason = Text(max_length=2000, required=False, allow_blank=True, default="")


class RequestCodeForm(Form):
    """The code of a request."""

    code = Text(max_length=100)


class ApproveForm(Form):
    """What the account shall be."""

    role = Text(max_length=63, required=False, default="user")
    group = Text(max_length=4 * paths.LENGTH, required=False, allow_blank=True, default="", help_text="Empty: the one that was asked for.")
    username = Text(max_length=150, required=False, allow_blank=True, default="", help_text="Empty: the one that was asked for.")


class RefuseForm(Form):
    """Why there shall be none."""

    why = Text(max_length=2000)


class TakesForm(Form):
    """Whether a group takes requests."""

    on = s.BooleanField()


class _Anybody(Endpoint):
    authentication_classes: ClassVar[Sequence[Any]] = ()
    permission_classes: ClassVar[Sequence[type[BasePermission]]] = (AllowAny,)


class Ask(_Anybody):
    """A request of somebody without an account."""

    @says(RequestCodeShape, 201, sends=AskForm, tag=TAG, operation_id="account_requests_ask")
    def post(self, _request: Request) -> Response:
        """Ask for an account, in a group that takes requests; the answer is the code to look at it with (anybody)."""
        return Response({"code": account_requests.ask(account_requests.Ask(**self.sent(AskForm)), self.address)}, 201)


class State(_Anybody):
    """The state of one's own request."""

    @says(MyRequestShape, sends=RequestCodeForm, tag=TAG, operation_id="account_requests_state")
    def post(self, _request: Request) -> Response:
        """Look at one's own request by its code (anybody)."""
        return Response(request_pictures.mine(account_requests.looked_at(self.sent(RequestCodeForm)["code"])))


class AccountRequests(Endpoint):
    """Requests one may decide."""

    filters: ClassVar[Filters] = {"state": lambda rows, value: rows.filter(state=value)}

    @says(listed("AccountRequest", AccountRequestShape), parameters=[*PAGES, *asks(*filters)], tag=TAG, operation_id="account_requests_list")
    def get(self, request: Request) -> Response:
        """List the requests for groups in which one may add people, the newest first."""
        return page(request, narrowed(request, account_requests.known(self.account), self.filters), request_pictures.requests)


class Approve(Endpoint):
    """A request that becomes an account."""

    @says(AccountShape, 201, sends=ApproveForm, parameters=[KEY], tag=TAG, operation_id="account_requests_approve")
    @once
    def post(self, _request: Request, asked: str) -> Response:
        """Make the account, in a group and with a role one may give; its password is the one the applicant chose."""
        return Response(pictures.account(account_requests.approve(self.account, asked, **self.sent(ApproveForm))), 201)


class Refuse(Endpoint):
    """A request that becomes none."""

    @says(AccountRequestShape, sends=RefuseForm, parameters=[KEY], tag=TAG, operation_id="account_requests_refuse")
    @once
    def post(self, _request: Request, asked: str) -> Response:
        """Have no account made; the applicant is told why."""
        return Response(request_pictures.requests([account_requests.refuse(self.account, asked, self.sent(RefuseForm)["why"])])[0])


class Takes(Endpoint):
    """Whether anybody may ask for an account in a group."""

    @says(GroupShape, sends=TakesForm, tag=TAG, operation_id="groups_take_requests")
    def put(self, _request: Request, group: str) -> Response:
        """Open a group to requests for accounts, or close it; none is open at first (administrators)."""
        return Response(right_pictures.groups(self.account, [groups.take_requests(self.account, group, on=self.sent(TakesForm)["on"])])[0])
