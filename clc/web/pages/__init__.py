"""Every page of console and portal; a page module registers itself when it is imported."""

from clc.web.page import PAGES, routes
from clc.web.pages import (
    access,
    access_roles,
    account,
    account_requests,
    addresses,
    audit,
    batches,
    departures,
    directories,
    ends,
    groups,
    hosts,
    images,
    instances,
    limits,
    network_pools,
    networks,
    overview,
    passkeys,
    people,
    portal,
    probes,
    provider,
    reports,
    security_groups,
    session,
    shares,
    tasks,
    workspaces,
)

__all__ = [
    "PAGES", "access", "access_roles", "account", "account_requests", "addresses", "audit", "batches", "departures", "directories", "ends", "groups",
    "hosts", "images", "instances", "limits", "network_pools", "networks", "overview", "passkeys", "people", "portal", "probes", "provider", "reports",
    "security_groups", "session", "shares", "tasks", "urlpatterns", "workspaces",
]
urlpatterns = routes()
