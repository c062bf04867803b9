"""/api/v1/security-groups/: rules that several instances share."""

from __future__ import annotations

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import access_pictures, security_groups
from clc.web.api.access_shapes import GroupForm, RuleForm, RulesForm, SecurityGroupShape
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, asks, listed, says
from clc.web.rest import Filters, exactly, narrowed, page
from luhyadb import scope
from luhyadb.models import SecurityGroup

TAG = "security groups"


def _shown(row: SecurityGroup, status: int = 200) -> Response:
    return Response(access_pictures.groups([row])[0], status=status)


class SecurityGroups(Endpoint):
    """All security groups one may see."""

    filters: ClassVar[Filters] = {"name": exactly("name"), "owner": exactly("owner__username")}

    @says(listed("SecurityGroup", SecurityGroupShape), parameters=asks(*filters), tag=TAG, operation_id="security_groups_list")
    def get(self, request: Request) -> Response:
        """List security groups."""
        rows = scope.visible_to(self.account, SecurityGroup).select_related("owner")
        return page(request, narrowed(request, rows, self.filters), access_pictures.groups, newest=False)

    @says(SecurityGroupShape, 201, sends=GroupForm, parameters=[KEY], tag=TAG, operation_id="security_groups_create")
    @once
    def post(self, _request: Request) -> Response:
        """Make a security group."""
        given = self.sent(GroupForm)
        return _shown(security_groups.create(self.account, given["name"], given["rules"]), 201)


class OneSecurityGroup(Endpoint):
    """One security group, by id or by its name."""

    @says(SecurityGroupShape, tag=TAG, operation_id="security_groups_show")
    def get(self, _request: Request, group: str) -> Response:
        """Show a security group."""
        return _shown(security_groups.resolve(self.account, group))

    @says(None, 204, tag=TAG, operation_id="security_groups_delete")
    def delete(self, _request: Request, group: str) -> Response:
        """Delete a security group no instance is in."""
        security_groups.delete(self.account, group)
        return Response(status=204)


class GroupRules(Endpoint):
    """The rules of a security group."""

    @says(SecurityGroupShape, sends=RulesForm, tag=TAG, operation_id="security_groups_set_rules")
    def put(self, _request: Request, group: str) -> Response:
        """Give a security group other rules, all of them."""
        return _shown(security_groups.set_rules(self.account, group, self.sent(RulesForm)["rules"]))

    @says(SecurityGroupShape, sends=RuleForm, parameters=[KEY], tag=TAG, operation_id="security_groups_add_rule")
    @once
    def post(self, _request: Request, group: str) -> Response:
        """Add one rule."""
        return _shown(security_groups.add_rule(self.account, group, self.sent(RuleForm)))


class RemoveRule(Endpoint):
    """One rule less."""

    @says(SecurityGroupShape, sends=RuleForm, parameters=[KEY], tag=TAG, operation_id="security_groups_remove_rule")
    @once
    def post(self, _request: Request, group: str) -> Response:
        """Remove one rule."""
        return _shown(security_groups.remove_rule(self.account, group, self.sent(RuleForm)))
