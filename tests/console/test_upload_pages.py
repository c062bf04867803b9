"""Pages about images that come in: what is half done, and the wish for a new version."""

import html

import httpx
import pytest
from django.test import Client

from clc.services import images, uploads
from clc.web.api import store
from luhyadb.models import Image, ImageVersion

PARTS = ({"part": "disk", "size_bytes": 1000},)


@pytest.fixture
def page(world, admin, monkeypatch):
    """Pages as an administrator sees them; the store has 310 bytes of every upload."""
    world.cluster()
    monkeypatch.setattr(store, "transport", [lambda: httpx.MockTransport(lambda _: httpx.Response(200, json={"received": {"disk": 310}}))])
    client = Client()
    client.force_login(admin)

    def show(where, **form):
        answer = client.post(where, form, follow=True) if form else client.get(where)
        return answer.status_code, html.unescape(answer.content.decode())

    return show


def test_a_half_done_upload_shows_where_its_image_shows(page, admin):
    upload = uploads.begin(admin, images.Ask("cutoff", PARTS))
    link = 'href="/images/upload/?name=cutoff"'
    _, text = page(f"/images/{upload.version.image_id}/")
    assert "half done: 31 % received" in text
    assert link in text
    assert link in page("/images/")[1]
    _, text = page("/images/upload/?name=cutoff")
    assert 'value="cutoff"' in text
    assert f'data-upload-discard="{upload.id}"' in text
    assert "31 %" in text
    uploads.abandon(admin, upload.id)
    assert link not in page("/images/")[1]


def test_a_store_that_is_away_leaves_the_share_out(page, admin, monkeypatch):
    upload = uploads.begin(admin, images.Ask("cutoff", PARTS))
    monkeypatch.setattr(store, "transport", [lambda: httpx.MockTransport(lambda _: httpx.Response(502))])
    status, text = page(f"/images/{upload.version.image_id}/")
    assert (status, "is half done." in text, "% received" in text) == (200, True, False)


def test_an_import_under_a_taken_name_asks_for_the_wish(page, world, admin):
    image = world.image(admin, "lab")
    sent = {"name": "lab", "url": "https://example.org/x.qcow2", "usage": "", "format": "", "sha256": ""}
    _, text = page("/images/import/", **sent)
    assert "There is an image 'lab' already" in text
    shown = text.split("data-new-version=", 1)[1].split(">", 1)[0]
    assert "hidden" not in shown
    assert "There is an image" not in page("/images/import/", **sent, new_version="1")[1]
    assert ImageVersion.objects.filter(image=image).count() == 2
    assert Image.objects.count() == 1


@pytest.mark.parametrize("where", ["/images/upload/", "/images/import/"])
def test_both_forms_say_what_is_usual(page, where):
    _, text = page(where)
    assert '<option value="">Not said: server</option>' in text
    assert "hidden" in text.split("data-new-version=", 1)[1].split(">", 1)[0]
