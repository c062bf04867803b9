"""Every page of console and portal; a page module registers itself when it is imported."""

from clc.web.page import PAGES, routes
from clc.web.pages import (
    access,
    access_roles,
    account,
    addresses,
    audit,
    batches,
    ends,
    groups,
    hosts,
    images,
    instances,
    limits,
    network_pools,
    networks,
    overview,
    people,
    portal,
    probes,
    reports,
    security_groups,
    session,
    shares,
    tasks,
    workspaces,
)

__all__ = [
    "PAGES", "access", "access_roles", "account", "addresses", "audit", "batches", "ends", "groups", "hosts", "images", "instances", "limits", "network_pools",
    "networks", "overview", "people", "portal", "probes", "reports", "security_groups", "session", "shares", "tasks", "urlpatterns", "workspaces",
]
urlpatterns = routes()
