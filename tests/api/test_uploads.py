"""Bytes through the API, to and from a real image store without its socket."""

import hashlib
import os
import subprocess

import httpx
import pytest

from clc.services import images
from clc.web.api import store
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.specs import UploadPart
from luhyaapi.errors import Refused
from luhyadb.models import Image, ImageVersion, Outbox, Task, Upload
from tests.support import store_door

BASE = "/api/v1/uploads/"
KERNEL = b"\x7fELF" + os.urandom(299_996)


@pytest.fixture
def library(world, tmp_path, monkeypatch):
    """A store that answers on the way the API takes to it."""
    world.cluster()
    way, kept = store_door.behind_api(tmp_path)
    monkeypatch.setattr(store, "transport", [lambda: way])
    return kept


@pytest.fixture
def client(admin, api):
    return api(admin)


def begin(client, **more):
    return client.post(BASE, {"name": "new", "parts": [{"part": "kernel", "size_bytes": len(KERNEL)}]} | more, format="json")


def put(client, upload, data, offset, part="kernel"):
    return client.put(f"{BASE}{upload}/{part}/?offset={offset}", data, content_type="application/octet-stream")


def test_pieces_arrive_and_a_cut_is_found_again(library, client):
    begun = begin(client)
    assert begun.status_code == 201, begun.content
    upload = begun.json()
    assert upload["parts"] == [{"part": "kernel", "size_bytes": len(KERNEL), "received_bytes": 0, "format": ""}]
    assert put(client, upload["id"], KERNEL[:100_000], 0).json() == {"part": "kernel", "received_bytes": 100_000}
    ahead = put(client, upload["id"], b"x", 200_000)
    assert (ahead.status_code, ahead.json()["code"], ahead.json()["received_bytes"]) == (409, "state", 100_000)
    assert client.get(f"{BASE}{upload['id']}/").json()["parts"][0]["received_bytes"] == 100_000
    assert put(client, upload["id"], KERNEL[50_000:], 50_000).json()["received_bytes"] == len(KERNEL)
    assert library.received(upload["id"]) == {"kernel": len(KERNEL)}


def complete(client, upload, **more):
    said = {"part": "kernel", "sha256": hashlib.sha256(KERNEL).hexdigest(), "size_bytes": len(KERNEL)} | more
    return client.post(f"{BASE}{upload}/complete/", {"parts": [said]}, format="json")


def test_a_finished_upload_becomes_a_task(library, client):
    upload = begin(client).json()["id"]
    put(client, upload, KERNEL, 0)
    answer = complete(client, upload)
    assert (answer.status_code, answer.json()["kind"]) == (202, "image/publish")
    assert answer["Location"] == f"/api/v1/tasks/{answer.json()['id']}/"
    assert complete(client, upload).json()["id"] == answer.json()["id"]
    assert Outbox.objects.count() == Task.objects.count() == 1


@pytest.mark.parametrize("wrong", [{"size_bytes": 5}, {"part": "disk"}, {"sha256": "x"}, {"more": 1}])
def test_an_upload_that_is_not_as_announced_is_refused(library, client, wrong):
    upload = begin(client).json()["id"]
    assert complete(client, upload, **wrong).json()["code"] == "invalid"
    assert Task.objects.count() == 0


@pytest.mark.parametrize(("part", "query", "data", "code"), [
    ("kernel", "", b"x", "invalid"), ("kernel", "?offset=-1", b"x", "invalid"), ("kernel", "?offset=x", b"x", "invalid"),
    ("kernel", "?offset=0", b"", "invalid"), ("disk", "?offset=0", b"x", "not_found"), ("..", "?offset=0", b"x", "not_found"),
    ("kernel", "?offset=0", b"x" * 300_001, "invalid"), ("kernel", "?offset=0", b"x" * (16 * 2**20 + 1), "invalid"),
])
def test_a_piece_that_does_not_fit_is_refused(library, client, part, query, data, code):
    upload = begin(client).json()["id"]
    answer = client.put(f"{BASE}{upload}/{part}/{query}", data, content_type="application/octet-stream")
    assert answer.json()["code"] == code
    assert library.received(upload) == {"kernel": 0}


def test_what_the_store_refuses_leaves_nothing(library, client, monkeypatch):
    def full(*_):
        raise Refused("quota", "Too many uploads are open")

    monkeypatch.setattr(library, "open_upload", full)
    assert begin(client).json()["code"] == "quota"
    assert (Image.objects.count(), ImageVersion.objects.count(), Upload.objects.count()) == (0, 0, 0)


@pytest.mark.parametrize("answer", [httpx.ConnectError("gone"), httpx.ReadTimeout("slow"), httpx.Response(200, text="<html>"),
                                    httpx.Response(502, text="bad gateway")])
def test_a_store_that_does_not_answer_is_said(world, client, monkeypatch, answer):
    def handle(_request):
        if isinstance(answer, Exception):
            raise answer
        return answer

    world.cluster()
    monkeypatch.setattr(store, "transport", [lambda: httpx.MockTransport(handle)])
    said = begin(client)
    assert (said.status_code, said.json()["code"], said["Retry-After"]) == (503, "host_silent", "2")
    assert Upload.objects.count() == 0


def test_without_a_store_nothing_begins(world, client):
    assert begin(client).json()["code"] == "host_silent"
    assert Image.objects.count() == 0


def publish(library, upload, task):
    """What the store and its outcome do."""
    published = library.publish(upload, (UploadPart(part="kernel", sha256=hashlib.sha256(KERNEL).hexdigest(), size=len(KERNEL)),))
    images.ended(task, Outcome(command=task.command, task=task.pk, blobs=published.blobs, parts=published.parts))


@pytest.fixture
def published(library, client):
    """An image that went all the way."""
    upload = begin(client).json()["id"]
    put(client, upload, KERNEL, 0)
    publish(library, upload, Task.objects.get(pk=complete(client, upload).json()["id"]))
    return "/api/v1/images/new/versions/1/parts/kernel/"


def test_a_published_file_comes_back_whole_and_in_ranges(published, client, user, api):
    got = api(user).get(published, HTTP_ACCEPT="application/octet-stream")
    assert (got.status_code, got["Content-Type"], got["Content-Length"]) == (200, "application/octet-stream", str(len(KERNEL)))
    assert b"".join(got.streaming_content) == KERNEL
    tail = client.get(published, HTTP_RANGE="bytes=299990-")
    assert (tail.status_code, tail["Content-Range"]) == (206, f"bytes 299990-299999/{len(KERNEL)}")
    assert b"".join(tail.streaming_content) == KERNEL[-10:]
    assert client.get(published, HTTP_RANGE="bytes=900000-").status_code == 416
    assert client.get(published.replace("kernel", "disk")).json()["code"] == "not_found"


def test_a_disk_comes_back_in_both_formats(library, client, tmp_path):
    disk = bytearray(bytes(5 << 20))
    disk[510:512], disk[1 << 20 : (1 << 20) + 5] = b"\x55\xaa", b"words"
    upload = begin(client, parts=[{"part": "disk", "size_bytes": len(disk)}]).json()["id"]
    put(client, upload, bytes(disk), 0, "disk")
    said = {"part": "disk", "sha256": hashlib.sha256(disk).hexdigest(), "size_bytes": len(disk)}
    task = client.post(f"{BASE}{upload}/complete/", {"parts": [said]}, format="json").json()["id"]
    kept = library.publish(upload, (UploadPart(part="disk", sha256=said["sha256"], size=len(disk)),))
    images.ended(Task.objects.get(pk=task), Outcome(command=Task.objects.get(pk=task).command, task=task, blobs=kept.blobs, parts=kept.parts))
    where = "/api/v1/images/new/versions/1/parts/disk/"
    assert b"".join(client.get(where).streaming_content) == disk
    assert b"".join(client.get(f"{where}?as=raw").streaming_content) == disk
    (tmp_path / "made").write_bytes(b"".join(client.get(f"{where}?as=qcow2").streaming_content))
    (tmp_path / "raw").write_bytes(disk)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", tmp_path / "made", tmp_path / "raw"], check=True)
    assert client.get(f"{where}?as=qcow2", HTTP_RANGE="bytes=0-3").streaming_content
    for wrong in (f"{where}?as=vmdk", where.replace("disk/", "kernel/?as=qcow2")):
        assert client.get(wrong).json()["code"] == "invalid"


def test_its_picture_tells_size_and_digest(published, client):
    (version,) = client.get("/api/v1/images/new/versions/").json()["results"]
    assert (version["sha256"], version["size_bytes"], version["format"]) == (hashlib.sha256(KERNEL).hexdigest(), len(KERNEL), "raw")
