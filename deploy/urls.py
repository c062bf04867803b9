"""Every address of the CLC: pages, API, joining."""

from clc.urls import urlpatterns

__all__ = ["urlpatterns"]
