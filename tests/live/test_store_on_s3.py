"""The image store with its objects on a real S3 server: all it does, and what it says while that server is away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from clc.services import pictures
from luhyaapi.conf import Settings, Store
from luhyaapi.errors import Refused, Unavailable
from tests.flow.conftest import _template, cloud  # noqa: F401 - fixtures
from tests.support.disks import bare
from tests.support.flow_world import KERNEL, World
from tests.support.living_store import Living
from tests.support.odd_s3 import Answer, odd_s3
from tests.support.private_swift import ACCESS_KEY, REGION, SECRET_KEY, PrivateSwift, private_swift
from walrus import door
from walrus.drivers import STORES
from walrus.services.objects import WatchedStore

pytestmark = pytest.mark.live
_prefixes = count(1)


@pytest.fixture(scope="module")
def swift() -> Iterator[PrivateSwift]:
    with private_swift() as swift:
        yield swift


def chosen(swift: PrivateSwift, secret: Path, **over: object) -> Store:
    secret.write_text(SECRET_KEY)
    facts = {"driver": "s3", "endpoint": swift.endpoint, "bucket": "walrus", "prefix": f"trial/{next(_prefixes)}", "region": REGION,
             "access_key": ACCESS_KEY, "secret_file": secret}
    return Store(**{**facts, **over})


def test_files_come_and_go_and_nothing_is_lost(swift: PrivateSwift, tmp_path: Path) -> None:
    class OnS3(Living):
        def make_objects(self):
            return STORES["s3"](Settings(store=chosen(swift, tmp_path / "secret")))

    case = OnS3.TestCase
    case.settings = settings(max_examples=2, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck))
    case().runTest()


def told(cloud: World) -> str:  # noqa: F811
    """What `educloud status` says of Walrus."""
    for what in ("reconcile", "beat"):
        cloud.p.act("walrus", what)
    cloud.p.settle()
    pictures.board.cache_clear()
    pictures.board()._local = cloud.role("clc").board._local  # one process: one board
    try:
        (part,) = [p for p in pictures.status()["parts"] if p["name"] == "walrus"]
    finally:
        pictures.board.cache_clear()
    return str(part["line"])


def test_images_are_published_fetched_deleted_and_collected(swift: PrivateSwift, cloud: World, tmp_path: Path) -> None:  # noqa: F811
    cloud.set("walrus", store=chosen(swift, tmp_path / "secret"))
    task = cloud.upload("lab", disk := bare(), "disk")
    cloud.p.settle()
    assert cloud.task(task.pk) == ("done", None)
    store = cloud.role("walrus").store
    assert b"".join(store.read(hashlib.sha256(disk).hexdigest(), 0, len(disk))) == disk
    cloud.crash("walrus")
    store = cloud.role("walrus").store
    (sha256,) = store.sha256s()
    assert store.used() > 0
    scrub = cloud.role("walrus").scrub
    (pack,) = store.objects.names("packs/")
    store.objects.put(pack, b"spoiled")
    scrub.step()
    assert scrub.hit() == [sha256]
    store.remove(sha256)
    store.collect()
    assert (store.used(), list(cloud.role("walrus").objects.names(""))) == (0, [])


def test_while_the_server_is_away_orders_wait_and_the_status_says_why(swift: PrivateSwift, cloud: World, tmp_path: Path) -> None:  # noqa: F811
    cloud.p.pass_time(10)
    cloud.set("walrus", store=chosen(swift, tmp_path / "secret"))
    assert "object store" not in told(cloud)
    library = cloud.role("walrus").library
    cloud.upload("first", KERNEL + b"1")
    cloud.p.settle()
    task = cloud.upload("lab", KERNEL + b"2")
    swift.stop()
    try:
        cloud.p.settle()
        assert cloud.task(task.pk)[0] in ("queued", "running")
        scrub = cloud.role("walrus").scrub
        scrub._store.places.miss([b"x" * 32])
        assert len(cloud.role("walrus").store.sha256s()) == 1
        assert scrub.hit() == [], "what was known before"
        assert "The object store does not answer" in told(cloud)
        cloud.crash("walrus")
        assert cloud.role("walrus").library is not library
        assert "The object store does not answer" in told(cloud), "Walrus is up without it"
        assert [reason.partition(":")[0] for reason in door._lacking(cloud.role("walrus"))] == ["The object store does not answer"]
        assert cloud.p.houses["walrus"].agent.journal.counts()[0] == 1
    finally:
        swift.start()
    cloud.until_rest()
    assert cloud.task(task.pk) == ("done", None)
    assert "object store" not in told(cloud)
    assert door._lacking(cloud.role("walrus")) == []


@pytest.mark.parametrize(("over", "why"), [
    ({"access_key": "school:nobody"}, "The object store does not let us in"), ({"endpoint": "nowhere"}, "nowhere"),
    ({"secret_file": Path("/nonexistent/secret")}, "/nonexistent/secret cannot be read"), ({"region": "no region"}, "no region"),
    ({"endpoint": "https://127.0.0.1:1", "ca_file": Path("/nonexistent/ca")}, "/nonexistent/ca cannot be read"),
    ({"prefix": "No Name"}, "That cannot name an object"),
])
def test_a_wrong_setting_is_said_and_walrus_is_up(
    swift: PrivateSwift, cloud: World, tmp_path: Path, over: dict[str, object], why: str,  # noqa: F811
) -> None:
    cloud.set("walrus", store=chosen(swift, tmp_path / "secret", **over))
    said = told(cloud)
    assert said.startswith("1 of 1 up; ")
    assert why in said
    assert SECRET_KEY not in said


def test_another_secret_is_taken_without_a_restart(swift: PrivateSwift, tmp_path: Path) -> None:
    watched = WatchedStore(lambda: STORES["s3"](wanted))
    wanted = Settings(store=chosen(swift, secret := tmp_path / "secret"))
    secret.write_text("another")
    with pytest.raises(Unavailable, match="does not let us in") as e:
        watched.put("a", b"1")
    assert (e.value.code, "does not let us in" in watched.trouble) == ("interrupted", True)
    secret.write_text(SECRET_KEY)
    watched.put("a", b"1")
    assert (watched.trouble, watched.get("a"), b"".join(watched.read("a", 0, 1))) == ("", b"1", b"1")
    with pytest.raises(Refused, match="no such object"):
        watched.read("b", 0, 1)
    assert watched.trouble == ""


def test_who_is_locked_out_later_asks_anew(tmp_path: Path) -> None:
    with odd_s3() as odd:
        (tmp_path / "secret").write_text("right")
        facts = Store(driver="s3", endpoint=odd.endpoint, access_key="a", secret_file=tmp_path / "secret")
        watched = WatchedStore(lambda: STORES["s3"](Settings(store=facts)))
        odd.answers["GET"] = Answer(403)
        with pytest.raises(Unavailable, match="does not let us in"):
            watched.get("a")
        odd.answers["GET"] = Answer(body=b"1")
        assert (watched.get("a"), watched.trouble) == (b"1", "")
        assert odd.asked.count("HEAD") == 2, "it was opened anew, with what the file says now"
