"""Images from a URL through a whole cloud: a real server on loopback, the real fetcher, the real conversion."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from luhyaapi import points
from luhyaapi.conf import Imports
from luhyaapi.transfer.fetch import half
from luhyadb.models import Event, Image, ImageVersion, Task, Upload
from tests.flow.conftest import _template, cloud  # noqa: F401 - fixtures
from tests.support.disks import MIB, bare, made
from tests.support.flow_world import World
from tests.support.small_http import HOME, Asked, Canary, SmallHttp

pytestmark = pytest.mark.live
DISK = bare(4 * MIB)
NOISE = bytearray(DISK)
NOISE[MIB:3 * MIB] = os.urandom(2 * MIB)
TAG = {"etag": '"v1"'}
Answer = Callable[[Asked], object]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], SmallHttp]]:
    with contextlib.ExitStack() as stack:
        yield lambda answer: stack.enter_context(contextlib.closing(SmallHttp(answer)))


@pytest.fixture
def open_cloud(cloud: World) -> World:  # noqa: F811
    """Its administrator lets images be fetched from the servers of these tests."""
    cloud.set("walrus", imports=Imports(allowed=(f"{HOME}/32",), largest_mib=16))
    return cloud


def gives(content: bytes) -> Answer:
    return lambda asked: asked.give(content, **TAG)


def nothing_is_left(cloud: World) -> None:  # noqa: F811
    assert [v.image.name for v in ImageVersion.objects.all()] == [i.name for i in Image.objects.all()] == ["tiny"]
    assert Upload.objects.count() == 0
    assert list((cloud.p.folder / "walrus/store/uploads").iterdir()) == []
    assert len(cloud.role("walrus").store.sha256s()) == 1
    assert cloud.open_things() == {}


def test_a_disk_becomes_an_image_as_if_it_had_been_uploaded(open_cloud: World, serve, tmp_path) -> None:
    content = made(tmp_path, "qcow2", DISK).read_bytes()
    server = serve(gives(content))
    sha256 = hashlib.sha256(content).hexdigest()
    task = open_cloud.bring(server.url("/pub/lab.qcow2?key=secret"), "lab", sha256=sha256, usage="desktop")
    open_cloud.p.settle()
    assert open_cloud.task(task.pk) == ("done", None)
    version = ImageVersion.objects.get(image__name="lab")
    assert (str(version.state), str(version.image.usage)) == ("published", "desktop")
    assert version.parts[0]["sha256"] == sha256
    assert (version.parts[0]["size"], version.parts[0]["was"]) == (len(content), ["qcow2"])
    store = open_cloud.role("walrus").store
    assert b"".join(store.read(version.blobs[0]["sha256"], 0, len(DISK))) == DISK
    assert list((open_cloud.p.folder / "walrus/store/uploads").iterdir()) == []
    (event,) = Event.objects.filter(what="import began")
    assert event.fields["url"] == server.url("/pub/lab.qcow2"), "a query may be a secret"
    open_cloud.rest()


@pytest.mark.parametrize(("answer", "order", "code", "why"), [
    (gives(DISK), {"sha256": "ab" * 32}, "digest", "its sha256 is"),
    (gives(b"<html>Sign in first</html>" * 50), {}, "image_format", ""),
    (gives(b""), {}, "image_format", "it is empty"),
    (gives(DISK), {"format": "qcow2"}, "image_format", ""),
    (lambda asked: asked.head(200, content_length=17 * MIB), {}, "quota", "17825792 bytes are announced, 16777216 are allowed"),
    (lambda asked: asked.head(404, content_length=0), {}, "not_found", ""),
    (lambda asked: asked.head(503, content_length=0), {}, "timeout", "503"),
    (lambda asked: asked.head(302, location="http://10.1.2.3/f", content_length=0), {}, "forbidden", "10.1.2.3: it is not a public address"),
    (lambda asked: asked.head(302, location="http://169.254.169.254/latest", content_length=0), {}, "forbidden", "169.254.169.254: it is"),
])
def test_what_cannot_be_taken_leaves_nothing(open_cloud: World, serve, answer: Answer, order: dict[str, str], code: str, why: str) -> None:
    task = open_cloud.bring(serve(answer).url(), **order)
    open_cloud.p.settle()
    error = Task.objects.get(pk=task.pk).error or {}
    assert error.get("code") == code, error
    assert why in error["why"]
    assert "\n" not in error["why"]
    nothing_is_left(open_cloud)


def test_a_private_address_is_not_even_knocked_at(cloud: World) -> None:  # noqa: F811
    with contextlib.closing(Canary()) as canary:
        task = cloud.bring(f"http://127.0.0.1:{canary.port}/disk.img")
        cloud.p.settle()
        assert canary.silent()
    assert Task.objects.get(pk=task.pk).error["why"] == "127.0.0.1: it is not a public address"
    nothing_is_left(cloud)


def test_where_nobody_answers_it_ends_soon(open_cloud: World) -> None:
    with socket.create_server((HOME, 0)) as closed:
        port = closed.getsockname()[1]
    task = open_cloud.bring(f"http://{HOME}:{port}/disk.img")
    open_cloud.p.settle()
    assert open_cloud.task(task.pk) == ("failed", "timeout")
    nothing_is_left(open_cloud)


def test_a_server_that_gives_nothing_more_is_given_up(cloud: World, serve) -> None:  # noqa: F811
    cloud.set("walrus", imports=Imports(allowed=(f"{HOME}/32",), largest_mib=16, silent_s=0.01))

    def dies_half_way(asked: Asked) -> None:
        asked.head(200, content_length=len(NOISE), **TAG)
        if not asked.start:
            asked.say(NOISE[:2 * MIB])

    task = cloud.bring(serve(dies_half_way).url())
    cloud.p.settle()
    assert cloud.task(task.pk) == ("failed", "timeout")
    nothing_is_left(cloud)


def test_it_can_be_cancelled_while_bytes_come(open_cloud: World, serve) -> None:
    def cut_short(asked: Asked) -> None:
        asked.head(200, content_length=len(NOISE), **TAG)
        asked.say(NOISE[:2 * MIB])
        open_cloud.role("walrus").agent.journal.bury(task.pk)
        open_cloud.clock.sleep(1)  # by hand: it is looked for a few times a second
        with contextlib.suppress(OSError):
            asked._connection.recv(1)

    task = open_cloud.bring(serve(cut_short).url())
    open_cloud.p.settle()
    assert open_cloud.task(task.pk) == ("cancelled", "cancelled")
    nothing_is_left(open_cloud)


@pytest.fixture
def noted_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "_NOTED_EACH", MIB)


class InTheMiddle:
    """Sends all but the end and then does something, once; a decent server otherwise."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then, self.starts = then, list[int]()

    def __call__(self, asked: Asked) -> None:
        self.starts.append(asked.start)
        if len(self.starts) > 1:
            asked.give(bytes(NOISE), **TAG)
            return
        asked.head(200, content_length=len(NOISE), **TAG)
        asked.say(NOISE[:-9])
        with contextlib.suppress(OSError):
            self.then()
            asked._connection.recv(1)


def arrived(cloud: World) -> int:  # noqa: F811
    """Bytes that are on the disk for sure."""
    notes = [*(cloud.p.folder / "walrus/store/uploads").rglob("*.note")]
    return int(json.loads(notes[0].read_text())["position"]) if notes else 0


def goes_on(cloud: World, server: InTheMiddle, task: str, at: int) -> None:  # noqa: F811
    cloud.until_rest()
    assert cloud.task(task) == ("done", None)
    assert server.starts == [0, at], "what is on the disk is not sent twice"
    version = ImageVersion.objects.get(image__name="brought")
    assert version.parts[0]["sha256"] == hashlib.sha256(NOISE).hexdigest()


class Death(BaseException):
    """The process ends here."""


def dying(cloud: World, dies: Callable[[str], None]) -> None:  # noqa: F811
    """Walrus carries out its orders and ends where ``dies`` raises."""
    for _ in range(3):
        cloud.p.act("clc", "post")
        cloud.wire.pump()
    before = points.use(dies)
    try:
        with pytest.raises(Death):
            cloud.p.houses["walrus"].agent.worker.step()
    finally:
        points.use(before)


def test_it_goes_on_after_walrus_was_killed(open_cloud: World, serve, noted_often: None, tmp_path) -> None:
    """A death that runs no code of ours: what was on the disk at that moment is there again. (tests/live/fetch kills for real.)"""
    uploads, saved, noted = open_cloud.p.folder / "walrus/store/uploads", tmp_path / "saved", []

    def dies(name: str) -> None:
        if name == "fetch: noted":
            noted.append(name)
        if len(noted) == 2:
            shutil.copytree(uploads, saved)
            raise Death

    server = InTheMiddle(lambda: None)
    task = open_cloud.bring(serve(server).url())
    dying(open_cloud, dies)
    shutil.rmtree(uploads)
    shutil.copytree(saved, uploads)
    at = arrived(open_cloud)
    assert at >= 2 * MIB
    open_cloud.crash("walrus")
    goes_on(open_cloud, server, task.pk, at)


def test_it_goes_on_after_walrus_was_stopped(open_cloud: World, serve, noted_often: None) -> None:
    def stop() -> None:
        while arrived(open_cloud) < 2 * MIB:
            time.sleep(0.005)
        open_cloud.p.houses["walrus"].agent.worker.stop()
        open_cloud.clock.sleep(1)

    server = InTheMiddle(stop)
    task = open_cloud.bring(serve(server).url())
    open_cloud.p.settle()
    assert len(server.starts) == 1
    at = arrived(open_cloud)
    assert at >= 2 * MIB
    open_cloud.crash("walrus")
    goes_on(open_cloud, server, task.pk, at)


@pytest.mark.parametrize("at", ["manifest: before put", "manifest: after put", "journal: before write"])
def test_a_death_after_the_last_byte_fetches_nothing_again(open_cloud: World, serve, at: str) -> None:
    def dies(name: str) -> None:
        seen.append(name)
        if name == at and "manifest: before put" in seen:
            raise Death

    seen: list[str] = []
    server = serve(gives(bytes(NOISE)))
    task = open_cloud.bring(server.url())
    dying(open_cloud, dies)
    open_cloud.crash("walrus")
    open_cloud.until_rest()
    assert open_cloud.task(task.pk) == ("done", None)
    assert len(server.asked) == 1
