"""Images by URL: what the CLC refuses at once, and what it gives to the store."""

import pytest

from luhyaapi.command.send import Order
from luhyaapi.contracts.commands import ImageImport
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.specs import Fault
from luhyadb.models import Event, Image, ImageVersion, Outbox, Task

BASE = "/api/v1/images/import/"
URL = "https://example.org/pub/debian-12.qcow2?token=abc"
SHA256 = "AB" * 32


@pytest.fixture
def client(world, admin, api):
    world.cluster()
    return api(admin)


def bring(client, **more):
    return client.post(BASE, {"name": "debian", "url": URL} | more, format="json")


def nothing():
    return (Image.objects.count(), ImageVersion.objects.count(), Task.objects.count(), Outbox.objects.count()) == (0, 0, 0, 0)


def test_an_import_is_a_task_and_one_order_to_the_store(client):
    answer = bring(client, sha256=SHA256, usage="desktop", format="qcow2")
    assert (answer.status_code, answer.json()["kind"]) == (202, "image/import")
    assert answer["Location"] == f"/api/v1/tasks/{answer.json()['id']}/"
    order = ImageImport.model_validate_json(Order.model_validate_json(Task.objects.get().order).body)
    assert (order.url, order.sha256, order.format, order.version) == (URL, SHA256.lower(), "qcow2", 1)
    assert str(ImageVersion.objects.get().state) == "building"
    assert str(Image.objects.get().usage) == "desktop"
    assert "token=abc" not in str([e.fields for e in Event.objects.all()]), "a query may be a secret"
    assert ImageVersion.objects.filter(image__name="debian").count() == 1


def test_a_refusal_of_the_store_leaves_nothing(client):
    task = Task.objects.get(pk=bring(client).json()["id"])
    from clc.services import images

    fault = Fault(code="forbidden", what="That URL may not be fetched", why="10.0.0.1: it is not a public address")
    images.ended(task, Outcome(command=task.command, task=task.pk, error=fault))
    assert (Image.objects.count(), ImageVersion.objects.count()) == (0, 0)


@pytest.mark.parametrize(("order", "field", "why"), [
    ({"url": "file:///etc/passwd"}, "url", "only http, https, ftp are fetched"),
    ({"url": "ssh://example.org/f"}, "url", "only http, https, ftp are fetched"),
    ({"url": "https://me:secret@example.org/f"}, "url", "it has a user name or password in it"),
    ({"url": "ftp://me@example.org/f"}, "url", "it has a user name or password in it"),
    ({"url": "http://example.org:25/f"}, "url", "port 25 is no port for http"),
    ({"url": "http:///f"}, "url", "its host"), ({"url": "disk.img"}, "url", "only http"),
    ({"name": "a b"}, "name", "letters"), ({"name": "import"}, "name", "it is a word of the API"),
    ({"sha256": "xyz"}, "sha256", "64 hexadecimal digits"), ({"format": "vmdk"}, "format", "give qcow2, raw or nothing"),
    ({"usage": "toy"}, "usage", "give desktop or server"),
])
def test_what_cannot_be_is_refused_at_once(client, order, field, why):
    answer = bring(client, **order)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid", field)
    assert why in answer.json()["why"]
    assert "secret" not in answer.content.decode()
    assert nothing()


def test_without_a_store_nothing_begins(world, admin, api):
    assert bring(api(admin)).json()["code"] == "host_silent"
    assert nothing()


def test_the_same_request_again_is_the_same_import(client):
    made = [client.post(BASE, {"name": "debian", "url": URL}, format="json", HTTP_IDEMPOTENCY_KEY="k1").json()["id"] for _ in range(2)]
    assert made[0] == made[1]
    assert Task.objects.count() == 1
