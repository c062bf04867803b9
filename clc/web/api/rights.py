"""/api/v1/groups/, access-roles/, grants/, shares/ and permissions/: who may do what."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import access_roles, explain, grants, groups, people, pictures, right_pictures, shares
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.right_shapes import (
    AccessRoleForm,
    AccessRoleShape,
    GrantForm,
    GrantShape,
    GroupShape,
    PathForm,
    PermissionsForm,
    PermissionShape,
    PermittedShape,
    PlaceForm,
    ShareForm,
    ShareShape,
)
from clc.web.api.shapes import KEY, PAGES, AccountShape, asks, listed, many, says
from clc.web.rest import Filters, exactly, narrowed, page
from luhyaapi.contracts.vocabulary import Verb
from luhyadb import scope
from luhyadb.models import Account, Group

TAG = "rights"
_SHARED = many("Share", ShareShape)
_ASKED = [OpenApiParameter(name, str, required=name != "user", description=text) for name, text in (
    ("kind", "image or instance."), ("subject", "Its id or name."), ("verb", "What shall be done: read, write, execute, delete."),
    ("user", "Whose right; oneself when left out."),
)]


class Groups(Endpoint):
    """The tree of groups."""

    filters: ClassVar[Filters] = {
        "below": groups.below,
    }

    @says(listed("Group", GroupShape), parameters=asks(*filters), tag=TAG, operation_id="groups_list")
    def get(self, request: Request) -> Response:
        """List the groups one sees, by path: one's own and those above it, and those whose people one manages."""
        rows = narrowed(request, scope.visible_to(self.account, Group), self.filters)
        return page(request, rows, functools.partial(right_pictures.groups, self.account), by="path", newest=False, is_text=True)

    @says(GroupShape, 201, sends=PathForm, parameters=[KEY], tag=TAG, operation_id="groups_create")
    @once
    def post(self, _request: Request) -> Response:
        """Make a group below one that is there."""
        return Response(right_pictures.groups(self.account, [groups.create(self.account, self.sent(PathForm)["path"])])[0], 201)


class OneGroup(Endpoint):
    """One group, by id or path."""

    @says(GroupShape, tag=TAG, operation_id="groups_show")
    def get(self, _request: Request, group: str) -> Response:
        """Show a group."""
        return Response(right_pictures.groups(self.account, [groups.resolve(self.account, group)])[0])

    @says(GroupShape, sends=PathForm, tag=TAG, operation_id="groups_move")
    def patch(self, _request: Request, group: str) -> Response:
        """Rename or move a group with all below it; people and resources stay in it."""
        return Response(right_pictures.groups(self.account, [groups.move(self.account, group, self.sent(PathForm)["path"])])[0])

    @says(None, 204, tag=TAG, operation_id="groups_delete")
    def delete(self, _request: Request, group: str) -> Response:
        """Give up a group that nothing belongs to."""
        groups.delete(self.account, group)
        return Response(status=204)


class AccessRoles(Endpoint):
    """Named sets of permissions."""

    @says(many("AccessRole", AccessRoleShape), tag=TAG, operation_id="access_roles_list")
    def get(self, _request: Request) -> Response:
        """List access roles."""
        return Response({"results": right_pictures.roles(self.account, access_roles.known()), "next": None})

    @says(AccessRoleShape, 201, sends=AccessRoleForm, parameters=[KEY], tag=TAG, operation_id="access_roles_create")
    @once
    def post(self, _request: Request) -> Response:
        """Make an access role of one's own (administrators)."""
        return Response(right_pictures.roles(self.account, [access_roles.create(self.account, **self.sent(AccessRoleForm))])[0], 201)


class OneAccessRole(Endpoint):
    """One access role."""

    @says(AccessRoleShape, tag=TAG, operation_id="access_roles_show")
    def get(self, _request: Request, role: str) -> Response:
        """Show an access role."""
        return Response(right_pictures.roles(self.account, [access_roles.find(role)])[0])

    @says(AccessRoleShape, sends=PermissionsForm, tag=TAG, operation_id="access_roles_set")
    def put(self, _request: Request, role: str) -> Response:
        """Give an access role other permissions, for all who have it, at once (administrators)."""
        return Response(right_pictures.roles(self.account, [access_roles.change(self.account, role, self.sent(PermissionsForm)["permissions"])])[0])

    @says(None, 204, tag=TAG, operation_id="access_roles_delete")
    def delete(self, _request: Request, role: str) -> Response:
        """Give up an access role that nobody has (administrators)."""
        access_roles.delete(self.account, role)
        return Response(status=204)


class Grants(Endpoint):
    """Access roles people have beside that of their own group."""

    filters: ClassVar[Filters] = {"user": exactly("account__username"), "role": exactly("role"), "group": exactly("group__path")}

    @says(listed("Grant", GrantShape), parameters=asks(*filters), tag=TAG, operation_id="grants_list")
    def get(self, request: Request) -> Response:
        """List one's own grants, and those at groups whose people one manages."""
        return page(request, narrowed(request, grants.over(self.account), self.filters), right_pictures.grants)

    @says(GrantShape, 201, sends=GrantForm, parameters=[KEY], tag=TAG, operation_id="grants_give")
    @once
    def post(self, _request: Request) -> Response:
        """Give somebody an access role over a group and all below it."""
        sent = self.sent(GrantForm)
        row = grants.give(self.account, people.find(self.account, sent["user"]), sent["role"], sent["group"])
        return Response(right_pictures.grants([row])[0], 201)


class OneGrant(Endpoint):
    """One grant."""

    @says(None, 204, tag=TAG, operation_id="grants_take")
    def delete(self, _request: Request, grant: str) -> Response:
        """Take a given role back."""
        grants.take(self.account, grant)
        return Response(status=204)


class Shares(Endpoint):
    """With whom an image or an instance is shared."""

    @says(_SHARED, parameters=_ASKED[:2], tag=TAG, operation_id="shares_list")
    def get(self, request: Request) -> Response:
        """List with whom it is shared."""
        row = explain.subject(self.account, request.query_params.get("kind", "")[:20], request.query_params.get("subject", "")[:100])
        scope.one(self.account, type(row), Verb.WRITE, pk=row.pk)
        return Response({"results": right_pictures.shares(shares.of(row)), "next": None})

    @says(_SHARED, 201, sends=ShareForm, parameters=[KEY], tag=TAG, operation_id="shares_give")
    @once
    def post(self, _request: Request) -> Response:
        """Share it with a person, or with a group and all below it."""
        sent = self.sent(ShareForm)
        row = explain.subject(self.account, sent["kind"], sent["subject"])
        made = shares.share(self.account, row, sent["verbs"], person=sent["user"], group=sent["group"])
        return Response({"results": right_pictures.shares(made), "next": None}, 201)


class OneShare(Endpoint):
    """One share."""

    @says(None, 204, tag=TAG, operation_id="shares_end")
    def delete(self, _request: Request, share: str) -> Response:
        """Share it no more."""
        shares.end(self.account, share)
        return Response(status=204)


class Why(Endpoint):
    """The rule, told."""

    @says(PermissionShape, parameters=_ASKED, tag=TAG, operation_id="permissions_why")
    def get(self, request: Request) -> Response:
        """Whether somebody may do something with a resource, and every reason."""
        asked = {name: request.query_params.get(name, "")[:100] for name in ("kind", "subject", "verb", "user")}
        whom, verb = explain.about(self.account, asked["user"]), explain.verb_of(asked["verb"])
        row = explain.subject(self.account, asked["kind"], asked["subject"])
        found, why_not = explain.why(self.account, whom, row, verb)
        return Response({"user": whom.username, "kind": asked["kind"], "subject": row.pk, "verb": str(verb), "allowed": bool(found),
                         "reasons": right_pictures.reasons(found), "why_not": why_not})


class Who(Endpoint):
    """Who may."""

    @says(listed("Permitted", PermittedShape), parameters=[*_ASKED[:3], *PAGES], tag=TAG, operation_id="permissions_who")
    def get(self, request: Request) -> Response:
        """List all who may do something with a resource, and why; whoever may change it may ask."""
        verb = explain.verb_of(request.query_params.get("verb", ""))
        row = explain.subject(self.account, request.query_params.get("kind", "")[:20], request.query_params.get("subject", "")[:100])

        def told(rows: list[Account]) -> list[dict[str, Any]]:
            found = scope.reasons_of(rows, row, verb)
            return [{"user": each.username, "reasons": right_pictures.reasons(found[each.pk])} for each in rows]

        return page(request, explain.who(self.account, row, verb), told, by="username", newest=False, is_text=True)


class Place(Endpoint):
    """Where somebody belongs."""

    @says(AccountShape, sends=PlaceForm, tag=TAG, operation_id="users_place")
    def put(self, _request: Request, user: str) -> Response:
        """Have somebody belong to another group, or have another access role there (who manages people)."""
        sent = self.sent(PlaceForm)
        return Response(pictures.account(people.place(self.account, user, sent["role"], sent["group"])))
