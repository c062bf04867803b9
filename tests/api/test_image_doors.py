"""What somebody may try at the doors of images: fields that are the server's own, and bytes without a right to them."""

import hashlib
import types

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clc.services.own import own
from luhyaapi.transfer import frames, giver
from luhyaapi.transfer.blocks import Index, digest
from luhyaapi.wire.signing import make_ticket
from luhyadb.models import ImageVersion
from tests.support import image_store, store_door
from walrus import door
from walrus.services.library import Library

BLOCK = bytes(range(256)) * 256
FRAME = frames.pack([digest(BLOCK)], BLOCK, frames.AT_PUBLISH)
INDEX = Index(len(BLOCK), digest(BLOCK))


@pytest.fixture
def store(world, tmp_path):
    """``store.put(what, body, ticket)`` at the door of a real image store."""
    kept = image_store.opened(tmp_path / "store")
    membership = types.SimpleNamespace(boss_certificate=own().membership.certificate, authority=own().authority)
    agent = types.SimpleNamespace(membership=membership, settings=types.SimpleNamespace(
        host=types.SimpleNamespace(listen="127.0.0.1", door_port=0, tls=False)), up=None)
    library = Library(tmp_path, kept)
    way = store_door.transport(door.make(types.SimpleNamespace(agent=agent, library=library, store=kept))._routes)
    client = httpx.Client(transport=way, base_url="http://store/walrus/api/1.0")

    def put(what, body, ticket):
        return client.put(what, content=body, headers={"Authorization": f"Ticket {ticket}"} if ticket else {})

    return types.SimpleNamespace(put=put, drafts=library.drafts, folder=tmp_path)


def test_a_draft_needs_the_ticket_of_its_submit(store):
    path, body = f"/drafts/tsk-1/index?size={INDEX.size}&name={INDEX.name}", giver.squeeze(INDEX)
    claims = ({"bring": "tsk-2"}, {"put": "tsk-1"}, {"get": ["tsk-1"]}, {"get": "tsk-1"}, {"bring": ["tsk-1"]}, {})
    late = make_ticket(own().key, {"bring": "tsk-1"}, -10)
    foreign = make_ticket(Ed25519PrivateKey.generate(), {"bring": "tsk-1"}, 60)
    for ticket in ("", "x", late, foreign, *(make_ticket(own().key, each, 60) for each in claims)):
        for what, data in ((path, body), ("/drafts/tsk-1/blocks", FRAME)):
            assert store.put(what, data, ticket).status_code in (401, 403, 409), ticket
    assert store.drafts.sweep(-1) == []
    good = make_ticket(own().key, {"bring": "tsk-1"}, 60)
    assert store.put(path, body, good).json() == {"lacking": "0"}
    assert store.put("/drafts/tsk-1/blocks", FRAME, good).json() == {}
    assert store.put("/drafts/..%2fx/blocks", b"x", good).status_code == 404


OWN = {
    "state": "published", "version": 99, "id": "img-00000000", "owner": 1, "owner_id": 1, "retired": True, "task": "tsk-1", "why": "", "account": 1,
    "blobs": [{"part": "disk", "sha256": hashlib.sha256(b"x").hexdigest(), "index": "0" * 64, "size": 1, "virtual_size": 1}], "created_at": 1,
}


def test_fields_of_the_server_are_set_by_nobody(world, admin, api):
    world.cluster()
    for field, value in OWN.items():
        name = f"of-{field.replace('_', '-')}"
        form = {"name": name, "parts": [{"part": "disk", "size_bytes": 4096, "format": "raw"}], field: value}
        answer = api(admin).post("/api/v1/uploads/", form, format="json")
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid", field)
    assert not ImageVersion.objects.exists()
