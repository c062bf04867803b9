"""A cloud that only pretends says so: to programs, to people at a terminal, on every page; a real one never does."""

from __future__ import annotations

import pytest
from django.conf import settings

from luhyaapi.conf import Console

BANNER = 'class="simulation"'


@pytest.fixture
def pretended(monkeypatch):
    console = Console(**settings.EDUCLOUD.console.model_dump() | {"simulation": True})
    monkeypatch.setattr(settings, "EDUCLOUD", settings.EDUCLOUD.model_copy(update={"console": console}))


def test_a_real_cloud_says_nothing_of_it(api, admin, client):
    assert api(admin).get("/api/v1/status/").json()["simulation"] is False
    assert BANNER not in client.get("/login/").content.decode()


def test_status_has_it_for_everybody(pretended, api, user):
    assert api(user).get("/api/v1/status/").json()["simulation"] is True


@pytest.mark.parametrize("path", ["/", "/instances/", "/images/", "/hosts/", "/tasks/", "/portal/", "/nowhere/"])
def test_every_page_has_it(pretended, admin, client, path):
    client.force_login(admin)
    assert BANNER in client.get(path, follow=True).content.decode()


def test_the_page_of_signing_in_has_it(pretended, client, db):
    assert BANNER in client.get("/login/").content.decode()
