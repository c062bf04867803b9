"""The portal: somebody's own machines in large type, and what can be started."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from clc.services import expiry
from clc.web.listing import listed
from clc.web.page import page, show
from clc.web.pages import limits, words
from clc.web.pages.instances import runnable_images
from luhyaapi.contracts.vocabulary import InstanceState
from luhyadb import scope
from luhyadb.models import Instance


@page("portal/", "portal", title=_("My machines"), icon="user", rank=70)
def home(request: HttpRequest) -> HttpResponse:
    """Mine, also for an administrator."""
    mine = scope.visible_to(request.user, Instance).select_related("owner", "group", "image__image")
    mine = mine.filter(owner=request.user).exclude(state=InstanceState.DELETED)
    found = listed(request, mine, "-created_at", "id", size=24)
    return show(request, "portal/home.html", rows=words.instances(found.rows), images=runnable_images(request),
                soon=expiry.soon(request.user), **limits.left(request),
                next_url=found.next_url, previous_url=found.previous_url)
