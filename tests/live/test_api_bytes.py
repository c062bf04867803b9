"""A large file through the API as it is served for real: whole, in ranges, cut, and never held in memory."""

import hashlib
import os
import threading
import types

import httpx
import psutil
import pytest
import uvicorn

from clc.services.own import own
from luhyaapi import clock
from luhyadb.models import Host, Image, ImageVersion
from tests.conftest import DATABASES
from tests.support import image_store
from walrus import door
from walrus.services.library import Library

pytestmark = [pytest.mark.live, pytest.mark.django_db(databases=DATABASES, transaction=True)]
MIB = 2**20
SIZE = 192 * MIB
PATH = "/api/v1/images/big/versions/1/parts/disk/"


@pytest.fixture
def store(world, admin, tmp_path):
    """A real door of an image store that holds one large file."""
    kept = image_store.opened(tmp_path / "store", quota_mib=4096)
    membership = types.SimpleNamespace(boss_certificate=own().membership.certificate, authority=own().authority)
    settings = types.SimpleNamespace(host=types.SimpleNamespace(listen="127.0.0.1", door_port=0, tls=False))
    agent = types.SimpleNamespace(membership=membership, settings=settings, up=None)
    opened = door.make(types.SimpleNamespace(agent=agent, library=Library(tmp_path, kept), store=kept)).start()
    world.cluster()
    Host.objects.filter(role="walrus").update(address=f"http://127.0.0.1:{opened.port}")
    block, digest, file = os.urandom(MIB), hashlib.sha256(), tmp_path / "big"
    with file.open("wb") as out:
        for _ in range(SIZE // MIB):
            out.write(block)
            digest.update(block)
    index = kept.add(file, digest.hexdigest()).index
    image = Image.objects.create(id="img-00000001", name="big", owner=admin, created_at=clock.now())
    blob = {"part": "disk", "sha256": digest.hexdigest(), "index": index.name, "size": SIZE, "format": "raw", "virtual_size": SIZE}
    ImageVersion.objects.create(image=image, version=1, state="published", blobs=[blob], created_at=clock.now())
    yield digest.hexdigest()
    opened.stop()


@pytest.fixture
def cloud(store, admin):
    """The web process, served by uvicorn on loopback; a client with an administrator's token."""
    from clc.services import tokens
    from deploy.asgi import application

    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = clock.monotonic() + 20
    while not server.started and clock.monotonic() < until:
        clock.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": f"Bearer {tokens.signed_in(admin)[1]}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False) as client:
        yield client
    server.should_exit = True
    thread.join(20)


def grown(before: int) -> float:
    return (psutil.Process().memory_info().rss - before) / MIB


def test_a_download_is_whole_and_flat(cloud, store):
    assert cloud.get("/healthz").status_code == 200
    found, most, before = hashlib.sha256(), 0.0, psutil.Process().memory_info().rss
    with cloud.stream("GET", PATH) as answer:
        assert (answer.status_code, int(answer.headers["Content-Length"])) == (200, SIZE)
        for piece in answer.iter_bytes(MIB):
            found.update(piece)
            most = max(most, grown(before))
    assert found.hexdigest() == store
    assert most < 48, f"{most:.0f} MiB for a file of {SIZE // MIB} MiB"
    tail = cloud.get(PATH, headers={"Range": f"bytes={SIZE - 5}-"})
    assert (tail.status_code, len(tail.content)) == (206, 5)


def test_a_download_that_is_left_leaves_no_connection(cloud, store):
    def open_to_the_store() -> int:
        port = int(Host.objects.get(role="walrus").address.rsplit(":", 1)[1])
        return sum(1 for c in psutil.Process().net_connections() if c.raddr and c.raddr.port == port and c.status == "ESTABLISHED")

    for _ in range(3):
        with cloud.stream("GET", PATH) as answer:
            next(answer.iter_bytes(MIB))
    until = clock.monotonic() + 15
    while open_to_the_store() and clock.monotonic() < until:
        clock.sleep(0.2)
    assert open_to_the_store() == 0


def test_an_upload_of_many_pieces_is_flat(cloud, store):
    size, piece = 96 * MIB, os.urandom(8 * MIB)
    begun = cloud.post("/api/v1/uploads/", json={"name": "sent", "parts": [{"part": "disk", "size_bytes": size}]})
    assert begun.status_code == 201, begun.text
    place, before = f"/api/v1/uploads/{begun.json()['id']}", psutil.Process().memory_info().rss
    for offset in range(0, size, len(piece)):
        got = cloud.put(f"{place}/disk/", params={"offset": offset}, content=piece)
        assert got.json() == {"part": "disk", "received_bytes": offset + len(piece)}
        assert grown(before) < 64
    ahead = cloud.put(f"{place}/disk/", params={"offset": 0}, content=b"x" * (16 * MIB + 1))
    assert (ahead.status_code, ahead.json()["code"]) == (422, "invalid")
