"""Every page of console and portal; a page module registers itself when it is imported."""

from clc.web.page import PAGES, routes
from clc.web.pages import (
    access,
    access_roles,
    account,
    account_requests,
    addresses,
    audit,
    departures,
    directories,
    groups,
    hosts,
    images,
    instances,
    network_pools,
    networks,
    overview,
    passkeys,
    people,
    portal,
    probes,
    provider,
    security_groups,
    session,
    shares,
    tasks,
    workspaces,
)

__all__ = [
    "PAGES", "access", "access_roles", "account", "account_requests", "addresses", "audit", "departures", "directories", "groups", "hosts", "images",
    "instances", "network_pools", "networks", "overview", "passkeys", "people", "portal", "probes", "provider", "security_groups", "session", "shares",
    "tasks", "urlpatterns", "workspaces",
]
urlpatterns = routes()
