"""What the pictures of rows say, with and without a board."""

import pytest

from clc.services import pictures
from clc.services.own import own
from luhyaapi import clock
from luhyadb.models import Host, ImageVersion, Instance, Task, TaskStep


@pytest.fixture
def ready(world, admin):
    world.cluster()
    return world.image(admin)


def test_a_running_step_shows_its_bytes_while_the_board_has_them(ready, world, user, api):
    row = world.instance(user, ready)
    task = Task.objects.get(pk=row.task)
    TaskStep.objects.create(task=task, name="fetch", state="running", host="cc-00000000", started_at=clock.now())
    Task.objects.filter(pk=task.pk).update(state="running", phase="fetch")
    pictures.board().write(f"task:{task.pk}", {"phase": "fetch", "percent": 40, "bytes_done": 400, "bytes_total": 1000})
    told = api(user).get(f"/api/v1/tasks/{task.pk}/").json()
    assert (told["progress"], told["phase"], told["tid"]) == (40, "fetch", f"{own().id}:{task.receiver}:{row.pk}")
    (step,) = told["steps"]
    assert (step["bytes_done"], step["bytes_total"], step["ended_at"]) == (400, 1000, None)
    pictures.board().clear()
    (step,) = pictures.task(Task.objects.get(pk=task.pk))["steps"]
    assert (step["state"], step["bytes_done"]) == ("running", 0)


def test_progress_that_comes_late_is_no_step_of_its_own(ready, world, user):
    task = Task.objects.get(pk=world.instance(user, ready).task)
    Task.objects.filter(pk=task.pk).update(state="running", phase="boot")
    TaskStep.objects.create(task=task, name="fetch-node", state="done", host="nc-00000000", started_at=clock.now(), ended_at=clock.now())
    TaskStep.objects.create(task=task, name="boot", state="running", host="nc-00000000", started_at=clock.now())
    pictures.board().write(f"task:{task.pk}", {"phase": "fetch", "percent": 99, "bytes_done": 999, "bytes_total": 1000})
    picture = pictures.task(Task.objects.get(pk=task.pk))
    assert (picture["phase"], picture["progress"]) == ("boot", 0), "99 % of what is over is no progress"
    told = picture["steps"]
    assert [(s["name"], s["state"]) for s in told] == [("fetch-node", "done"), ("boot", "running")]
    assert not any(s["bytes_done"] for s in told if s["name"] == "boot")


def test_a_node_whose_hypervisor_is_gone_is_no_good_health(ready, world):
    node = Host.objects.get(role="nc")
    world.facts(node, services={"hypervisor": "does not answer"})
    told = pictures.status()
    (part,) = [p for p in told["parts"] if p["name"] == "nc"]
    assert part["health"] == "warn"
    assert "hypervisor" in part["line"]


def test_a_role_that_nobody_would_start_again_is_no_good_health(ready, world):
    world.facts(Host.objects.get(role="cc"), services={"supervisor": "is gone"})
    (part,) = [p for p in pictures.status()["parts"] if p["name"] == "cc"]
    assert part["health"] == "warn"
    assert "supervisor is gone: run `make up`" in part["line"]


def test_images_with_damaged_blocks_are_named(ready, world):
    blob = ImageVersion.objects.get().blobs[0]
    world.facts(Host.objects.get(role="walrus"), damaged=[blob["sha256"], "ab" * 32], services={"objects": "ok"})
    (part,) = [p for p in pictures.status()["parts"] if p["name"] == "walrus"]
    assert part["health"] == "warn"
    assert "blocks of tiny:1, abababababab are damaged: bring the same files in again" in part["line"]


def test_a_store_whose_objects_are_away_is_told_in_its_own_words(ready, world):
    world.facts(Host.objects.get(role="walrus"), services={"objects": "The object store does not answer: refused"})
    (part,) = [p for p in pictures.status()["parts"] if p["name"] == "walrus"]
    assert (part["health"], "The object store does not answer: refused" in part["line"]) == ("warn", True)


def test_an_error_is_told_with_its_hint(ready, world, user, api):
    row = world.instance(user, ready)
    fault = {"code": "no_capacity", "what": "No node can take it now", "why": "nc: no memory", "hint": "Wait."}
    Instance.objects.filter(pk=row.pk).update(state="failed", error=fault)
    assert api(user).get(f"/api/v1/instances/{row.pk}/").json()["error"] == fault


def test_a_host_tells_its_facts_in_bytes_and_its_age(ready, world, admin, user, api):
    node = Host.objects.get(role="nc")
    Host.objects.filter(pk=node.pk).update(last_heard=clock.now() - 90, accelerator_why="the probe answered")
    world.instance(user, ready, state="running", node=node.pk)
    client = api(admin)
    assert client.get("/api/v1/hosts/nc/").json()["last_heartbeat_age_s"] == pytest.approx(90, abs=2)
    world.facts(node, load=0.5, cpus=2, memory_mib=1000, memory_free_mib=400, disk_mib=100, disk_free_mib=90)
    told = client.get(f"/api/v1/hosts/{node.pk}/").json()
    assert told["last_heartbeat_age_s"] < 5
    facts = told["facts"]
    assert (facts["cpus"], facts["cpus_used"], facts["machine_cpus"], facts["load"]) == (8, 1, 2, 0.5)
    assert (facts["memory_bytes"], facts["memory_used_bytes"], facts["disk_used_bytes"]) == (4096 * 2**20, 128 * 2**20, 10 * 2**20)
    assert (facts["accelerator"], facts["accelerator_why"]) == ("kvm", "the probe answered")


def test_an_image_is_cached_where_all_its_files_are(ready, world, user, api):
    node, blobs = Host.objects.get(role="nc"), [b["sha256"] for b in ready.versions.get().blobs]
    world.facts(node, blobs=blobs[:1])
    assert api(user).get("/api/v1/images/tiny/").json()["cached_on"] == []
    world.facts(node, blobs=blobs)
    assert api(user).get("/api/v1/images/tiny/").json()["cached_on"] == [node.pk]


def test_which_host_has_which_version(world, admin, user, api):
    _, cc, node = world.cluster()
    image = world.image(admin, versions=2)
    one, two = ([b["sha256"] for b in v.blobs] for v in image.versions.order_by("version"))
    world.facts(cc, blobs=one + two)
    world.facts(node, blobs=[*one, two[0]], halves=[{"sha256": two[1], "size": 50}, {"sha256": "f" * 64, "size": 7}])
    world.host("nc", "silent and never heard", boss=cc.id)
    told = api(user).get("/api/v1/images/tiny/versions/").json()["results"]
    assert [[(c["host"], c["whole"], c["bytes_done"], c["bytes_total"]) for c in v["cached_on"]] for v in told] == [
        [(cc.pk, True, 200, 200), (node.pk, True, 200, 200)], [(cc.pk, True, 400, 400), (node.pk, False, 250, 400)],
    ]
    assert told[0]["cached_on"][1] | {"host_name": "nc", "role": "nc"} == told[0]["cached_on"][1]
    whole = api(user).get("/api/v1/images/tiny/").json()
    assert whole["cached_on"] == [cc.pk], "all files of the newest version"
    assert [v["cached_on"] for v in whole["versions"]] == [v["cached_on"] for v in told]
    world.facts(node, halves=[{"sha256": two[1], "size": 10**9}])
    assert api(user).get("/api/v1/images/tiny/versions/").json()["results"][1]["cached_on"][1]["bytes_done"] == 200, "no more than there is"
    world.facts(node, blobs=[two[0]], halves=[{"sha256": two[1], "size": 200}])
    assert api(user).get("/api/v1/images/tiny/versions/").json()["results"][1]["cached_on"][1]["whole"], "all its bytes came"


def parts():
    told = pictures.status()
    return told["health"], {p["name"]: (p["health"], p["line"]) for p in told["parts"]}


def test_a_status_says_what_an_operator_must_know(ready, world):
    me = Host.objects.get(role="clc")
    assert parts()[1]["broker"] == ("bad", "clc-relay does not report")
    world.facts(me, services={"broker": "ok", "board": "ok"})
    health, told = parts()
    assert (health, told["broker"], told["nc"]) == ("ok", ("ok", "answers"), ("ok", "1 of 1 up"))
    world.facts(me, services={"broker": "does not answer"})
    assert parts()[1]["broker"][0] == "bad"
    pictures.board().write(f"host:{me.pk}", {"at": clock.now() - 60, "services": {"broker": "ok"}})
    assert parts()[1]["broker"] == ("bad", "clc-relay does not report")
    Host.objects.filter(role="nc").update(state="silent")
    assert parts()[1]["nc"] == ("bad", "0 of 1 up; nc: no heartbeat")
    world.host("nc", "other", state="new", boss="cc-00000000", boot="")
    assert "other: waits for approval" in parts()[1]["nc"][1]


def test_orders_that_wait_long_are_said(ready, world, user):
    from luhyadb.models import Outbox

    world.instance(user, ready)
    assert parts()[1]["outbox"][0] == "ok"
    Outbox.objects.update(at=clock.now() - 100, why="the broker does not answer")
    assert parts()[1]["outbox"] == ("warn", "1 order in line, the first for 100 s: the broker does not answer")


def test_an_empty_cloud_says_what_is_missing(world):
    health, told = parts()
    assert health == "bad"
    assert "images cannot be uploaded" in told["walrus"][1]
    assert "sc" not in told
