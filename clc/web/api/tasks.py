"""/api/v1/tasks/: long actions."""

from __future__ import annotations

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import pictures, tasks
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, TaskShape, TraceShape, asks, listed, says
from clc.web.rest import Filters, Nothing, accepted, exactly, narrowed, page
from luhyaapi.contracts.vocabulary import TaskState
from luhyadb import scope
from luhyadb.models import Event, Task

TAG = "tasks"
_EVENTS_AT_MOST = 1000


class Tasks(Endpoint):
    """All tasks one may see, newest first."""

    filters: ClassVar[Filters] = {
        "state": exactly("state", TaskState), "kind": exactly("kind"), "subject": exactly("subject"), "owner": exactly("owner__username"),
    }

    @says(listed("Task", TaskShape), parameters=asks(*filters), tag=TAG, operation_id="tasks_list")
    def get(self, request: Request) -> Response:
        """List tasks."""
        rows = narrowed(request, scope.visible_to(self.account, Task), self.filters)
        return page(request, rows.select_related("owner"), pictures.tasks)


class OneTask(Endpoint):
    """One task."""

    @says(TaskShape, tag=TAG, operation_id="tasks_show")
    def get(self, _request: Request, task: str) -> Response:
        """Show a task with its steps."""
        return Response(pictures.task(scope.one(self.account, Task, pk=task)))


class Cancel(Endpoint):
    """The end of a task before its time."""

    @says(TaskShape, 202, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="tasks_cancel")
    @once
    def post(self, _request: Request, task: str) -> Response:
        """Ask for a task to be undone; its own outcome decides how it ended."""
        self.sent(Nothing)
        row = tasks.cancel(self.account, task)
        return accepted(row.pk, pictures.task(row))


class Trace(Endpoint):
    """What happened for a task, in order."""

    @says(TraceShape, tag=TAG, operation_id="tasks_trace")
    def get(self, _request: Request, task: str) -> Response:
        """Show a task's way through all roles."""
        row = scope.one(self.account, Task, pk=task)
        events = Event.objects.filter(task=row.pk).order_by("id")[:_EVENTS_AT_MOST]
        return Response({"id": row.pk, "events": [pictures.event(e) for e in events]})
