"""Every page of console and portal; a page module registers itself when it is imported."""

from clc.web.page import routes
from clc.web.pages import (
    hosts,
    images,
    instances,
    networks,
    overview,
    people,
    portal,
    probes,
    session,
    tasks,
    workspaces,
)

__all__ = ["hosts", "images", "instances", "networks", "overview", "people", "portal", "probes", "session", "tasks", "urlpatterns", "workspaces"]
urlpatterns = routes()
