"""REST routes and pages."""

from __future__ import annotations

from typing import Any

from django.urls import include, path

from clc.web import pages

urlpatterns: list[Any] = [
    path("", include("clc.web.api.routes")),
    *pages.urlpatterns,
]
