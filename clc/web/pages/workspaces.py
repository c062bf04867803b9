"""Workspaces: begun from an image, then one page for all three phases."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import workspaces
from clc.web.page import Form, form_of, go, is_fragment, page, show, toast
from clc.web.pages import words
from luhyaapi.contracts.vocabulary import InstanceState, WorkspaceState
from luhyaapi.errors import Refused
from luhyaapi.machines import WORKSPACE
from luhyadb import scope
from luhyadb.models import Account, Task, Workspace

_PAST = {WorkspaceState.PREPARING: _("Prepared"), WorkspaceState.EDITING: _("Edited"), WorkspaceState.SUBMITTING: _("Submitted")}
_PHASES = tuple(_PAST)


@page("images/<str:ident>/modify/", "image_modify", under="images", methods=("POST",), back="image")
def begin(request: HttpRequest, ident: str) -> HttpResponse:
    """The next version of an image, or with a name a new image made from it."""
    values = Form.of(request).values
    made = workspaces.begin(request.user, workspaces.Ask(ident, values.get("name", "").strip(), values.get("description", "").strip()))
    return go(request, reverse("workspace", args=[made.pk]))


@page("workspaces/<str:ident>/", "workspace", under="images")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """Where it is, the guest's screen, and what comes next."""
    found = scope.one(request.user, Workspace, pk=ident)
    form = form_of(request)
    task = scope.visible_to(request.user, Task).filter(pk=found.task).first()
    reached = _PHASES.index(WorkspaceState(found.state)) if found.state in _PHASES else len(_PHASES) if found.state == WorkspaceState.PUBLISHED else -1
    return show(
        request, "workspaces/detail.html", space=found, state=WorkspaceState(found.state),
        is_open=found.state not in WORKSPACE.final,
        phases=[(phase, _PAST[phase], "done" if n < reached else "now" if n == reached else "") for n, phase in enumerate(_PHASES)],
        instance=words.instance(found.instance), work=words.task(task) if task else None, error=None if form.error else found.error,
        newer=workspaces.newer(found), is_conflict=form.error is not None and form.error["code"] == "conflict",
        watched=(f"workspace:{found.pk}", f"instance:{found.instance_id}"),
        is_running=found.instance.state == InstanceState.RUNNING, note=form.values.get("note", found.note),
    )


@page("workspaces/<str:ident>/<str:verb>/", "workspace_action", under="images", methods=("POST",), back="workspace")
def action(request: HttpRequest, ident: str, verb: str) -> HttpResponse:
    """Start, stop, submit or abandon it."""
    values = Form.of(request).values
    account: Account = request.user
    if verb == "submit":
        found = workspaces.submit(account, ident, values.get("note", ""), anyway=bool(values.get("anyway")))
    elif verb in _VERBS:
        found = _VERBS[verb](account, ident)
    else:
        raise Refused("not_found", "There is nothing at this address")
    said = {
        "start": gettext("%(name)s starts"), "stop": gettext("%(name)s stops"), "submit": gettext("%(name)s is being submitted"),
        "abandon": gettext("The workspace of %(name)s is abandoned"),
    }[verb] % {"name": found.name}
    if is_fragment(request):
        return toast(request, said)
    messages.success(request, said)
    return go(request, reverse("images") if verb == "abandon" else reverse("workspace", args=[found.pk]))


_VERBS = {"start": workspaces.start, "stop": workspaces.stop, "abandon": workspaces.abandon}
