"""/api/v1/workspaces/: the next version of an image, made through a running guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import workspace_pictures, workspaces
from clc.web.api.endpoint import Endpoint
from clc.web.api.instances import StopForm
from clc.web.api.once import once
from clc.web.api.shapes import KEY, WorkspaceShape, asks, listed, says
from clc.web.rest import Filters, Form, Nothing, Text, Whole, accepted, exactly, narrowed, page
from luhyaapi.contracts.vocabulary import WorkspaceState
from luhyadb import scope
from luhyadb.models import Workspace

TAG = "workspaces"


class BeginForm(Form):
    """What is to be changed."""

    image = Text(max_length=80, help_text="Name or id of the image to begin from; `name:version` for a certain version.")
    name = Text(max_length=63, required=False, allow_blank=True, default="", help_text="Makes a new image of that name instead of the next version.")
    description = Text(max_length=2000, required=False, allow_blank=True, default="", lines=True)
    cpus = Whole(required=False, allow_null=True, default=None)
    memory_bytes = Whole(required=False, allow_null=True, default=None)


class SubmitForm(Form):
    """The release note; ``anyway`` publishes also when another version was published meanwhile."""

    note = Text(max_length=2000, required=False, allow_blank=True, default="", lines=True)
    anyway = serializers.BooleanField(required=False, default=False)


class Workspaces(Endpoint):
    """All workspaces one may see, newest first."""

    filters: ClassVar[Filters] = {"state": exactly("state", WorkspaceState), "image": exactly("name"), "owner": exactly("owner__username")}

    @says(listed("Workspace", WorkspaceShape), parameters=asks(*filters), tag=TAG, operation_id="workspaces_list")
    def get(self, request: Request) -> Response:
        """List workspaces."""
        return page(request, narrowed(request, scope.visible_to(self.account, Workspace), self.filters), workspace_pictures.workspaces)

    @says(WorkspaceShape, 202, sends=BeginForm, parameters=[KEY], tag=TAG, operation_id="workspaces_begin")
    @once
    def post(self, _request: Request) -> Response:
        """Begin the next version of an image, or a new image made from it (administrators)."""
        row = workspaces.begin(self.account, workspaces.Ask(**self.sent(BeginForm)))
        return accepted(row.task, workspace_pictures.workspace(row))


class OneWorkspace(Endpoint):
    """One workspace."""

    @says(WorkspaceShape, tag=TAG, operation_id="workspaces_show")
    def get(self, _request: Request, workspace: str) -> Response:
        """Show a workspace."""
        return Response(workspace_pictures.workspace(scope.one(self.account, Workspace, pk=workspace)))

    @says(WorkspaceShape, 202, tag=TAG, operation_id="workspaces_abandon")
    def delete(self, _request: Request, workspace: str) -> Response:
        """Abandon a workspace: what was changed in it is thrown away."""
        row = workspaces.abandon(self.account, workspace)
        return accepted(row.instance.task, workspace_pictures.workspace(row))


def _acts(verb: str, says_: str, form: type[Form], act: Callable[..., Workspace]) -> type[Endpoint]:
    class Act(Endpoint):
        @says(WorkspaceShape, 202, sends=form, parameters=[KEY], tag=TAG, operation_id=f"workspaces_{verb}", description=says_)
        @once
        def post(self, _request: Request, workspace: str) -> Response:
            given: dict[str, Any] = self.sent(form)
            row = act(self.account, workspace, **given)
            task = row.task if verb == "submit" else row.instance.task
            return accepted(task, workspace_pictures.workspace(row))

    Act.__name__ = Act.__qualname__ = f"{verb.capitalize()}Workspace"
    return Act


Start = _acts("start", "Run the guest of a workspace.", Nothing, workspaces.start)
Stop = _acts("stop", "Stop the guest of a workspace; what it changed stays.", StopForm, workspaces.stop)
Submit = _acts("submit", "Stop the guest and publish what it changed.", SubmitForm, workspaces.submit)
