"""Tasks: list, one with its steps and its way through the roles, cancelling."""

from __future__ import annotations

import re
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import pictures, tasks
from clc.web.listing import filters, listed, matching
from clc.web.page import go, page, show
from clc.web.pages import words
from luhyaapi.contracts.vocabulary import Role, TaskState
from luhyadb import scope
from luhyadb.models import Event, Task, Workspace

_TRACED = 500
_STEP = re.compile(r"step (\S+) (\S+)")


@page("tasks/", "tasks", title=_("Tasks"), icon="list-check", rank=40)
def index(request: HttpRequest) -> HttpResponse:
    """All that somebody may see, newest first."""
    chosen = filters(request, TaskState)
    rows = scope.visible_to(request.user, Task).select_related("owner")
    if chosen["state"]:
        rows = rows.filter(state=chosen["state"])
    if chosen["q"]:
        rows = rows.filter(matching(chosen["q"], "id", "subject_name", "subject", "kind"))
    found = listed(request, rows, "-created_at", "id")
    return show(request, "tasks/list.html", rows=words.tasks(found.rows), filters=chosen, next_url=found.next_url,
                previous_url=found.previous_url)


@page("tasks/<str:ident>/row/", "task_row", under="tasks")
def row(request: HttpRequest, ident: str) -> HttpResponse:
    """One row of a list."""
    shown = words.task(scope.one(request.user, Task, pk=ident))
    return show(request, "tasks/_row.html", t=shown, short_row=bool(request.GET.get("short")))


@page("tasks/<str:ident>/steps/", "task_steps", under="tasks")
def steps(request: HttpRequest, ident: str) -> HttpResponse:
    """Its steps, and what else of its page moves on."""
    found = scope.one(request.user, Task, pk=ident)
    return show(request, "tasks/_news.html", task=_shown(request, found), trace=_trace(request, found))


def _shown(request: HttpRequest, found: Task) -> words.Shown:
    """With the page where its result is to be seen: of a workspace's tasks its own, for its machine goes; a delete leaves nothing to see."""
    shown = words.task(found)
    spaces = scope.visible_to(request.user, Workspace).filter(instance=found.subject)
    if found.kind in (tasks.PREPARE, tasks.SUBMIT) and (space := spaces.first()):
        shown["subject_url"] = reverse("workspace", args=[space.pk])
    return shown | {"result_url": "" if found.kind.endswith("/delete") else shown["subject_url"]}


def _trace(request: HttpRequest, found: Task) -> list[dict[str, Any]]:
    events = scope.visible_to(request.user, Event).filter(task=found.pk).order_by("id")[:_TRACED]
    told = map(pictures.event, events)
    return [e | {"role": Role(e["role"]), "host": e["host"] or "", "at": e["at"][11:23], "step": _STEP.fullmatch(e["what"])} for e in told]


@page("tasks/<str:ident>/", "task", under="tasks")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One task: steps, progress, trace."""
    found = scope.one(request.user, Task, pk=ident)
    return show(request, "tasks/detail.html", task=_shown(request, found), trace=_trace(request, found))


@page("tasks/<str:ident>/cancel/", "task_cancel", under="tasks", methods=("POST",), back="task")
def cancel(request: HttpRequest, ident: str) -> HttpResponse:
    """Have it undone."""
    task = tasks.cancel(request.user, ident)
    messages.info(request, gettext("The task is being cancelled"))
    return go(request, reverse("task", args=[task.pk]))
