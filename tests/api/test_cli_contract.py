"""The command line client against the real API, in one process: both keep the same contract."""

import json

import httpx
import pytest

from cc.role import ROLE
from clc.services import comparisons, images, sign_in, tokens
from clc.web.api import store
from deploy.cli.main import main
from deploy.cli.session import Session
from luhyaapi import clock
from luhyaapi.contracts.commands import AccessSet
from luhyaapi.contracts.reports import Outcome
from luhyadb.models import Access, Forward, Host, Instance, Task, Workspace
from tests.support import store_door
from tests.support.clc_world import PASSWORD

URL = "http://localhost"


def answer(world, asked):
    """What the API says to a request of the client."""
    body = asked.read()
    kind = asked.headers.get("Content-Type", "application/octet-stream")
    got = world.api(None).generic(asked.method, asked.url.raw_path.decode(), body, content_type=kind, headers=dict(asked.headers))
    content = b"".join(got.streaming_content) if got.streaming else got.content
    return httpx.Response(got.status_code, content=content, headers=dict(got.items()))


@pytest.fixture
def cli(world, admin, tmp_path, capsys):
    """``cli(...)``: exit code and the JSON document of one call by an administrator."""
    environ = {"EDUCLOUD_URL": URL, "EDUCLOUD_TOKEN": tokens.signed_in(admin)[1]}

    def call(*args, plain=False, **more):
        capsys.readouterr()
        session = Session(environ=environ | more, config=tmp_path / "config.toml", transport=httpx.MockTransport(lambda asked: answer(world, asked)),
                          terminal=lambda: False)
        code = main(args if plain else ("--json", *args), session)
        seen = capsys.readouterr()
        if plain:
            return code, seen.out
        return code, json.loads(seen.out) if seen.out else seen.err

    return call


@pytest.fixture
def ready(world, admin):
    world.cluster()
    return world.image(admin)


def test_run_show_stop_delete(cli, ready):
    code, made = cli("instance", "run", "--image", "tiny", "--name", "one", "--memory", "128M", "--no-wait")
    assert code == 0, made
    (row,) = Instance.objects.all()
    assert row.task in json.dumps(made)
    assert [i["id"] for i in cli("instance", "list")[1]] == [row.pk]
    shown = cli("instance", "show", "one")[1]
    assert (shown["memory_bytes"], shown["state"]) == (128 * 2**20, "queued")
    Instance.objects.update(state="running", node="nc-00000001")
    assert cli("instance", "stop", "one", "--no-wait")[0] == 0
    assert cli("instance", "start", "one", "--no-wait")[0] == 5
    assert cli("instance", "delete", "one", "--yes", "--no-wait")[0] == 0
    assert Instance.objects.get().wanted == "deleted"
    assert cli("instance", "screen", row.pk)[1]["url"] == f"{URL}/instances/{row.pk}/screen/"


def test_errors_have_their_exit_codes(cli, ready):
    assert cli("instance", "show", "ins-00000000")[0] == 3
    assert cli("instance", "run", "--image", "none", "--no-wait")[0] == 3
    assert cli("instance", "run", "--image", "tiny", "--name", "a b", "--no-wait")[0] == 2
    assert cli("status", EDUCLOUD_TOKEN="wrong")[0] == 4
    cli("instance", "run", "--image", "tiny", "--name", "one", "--no-wait")
    assert cli("instance", "run", "--image", "tiny", "--name", "one", "--no-wait")[0] == 5
    Task.objects.update(state="done")
    assert cli("task", "cancel", Task.objects.first().pk)[0] == 5


def test_tasks(cli, ready, world, admin):
    row = world.instance(admin, ready)
    assert [t["id"] for t in cli("task", "list")[1]] == [row.task]
    assert cli("task", "show", row.task)[1]["kind"] == "instance/run"
    assert cli("task", "trace", row.task)[1]["events"][0]["what"] == "task opened"
    assert cli("task", "cancel", row.task)[1]["state"] == "cancelling"


def test_hosts(cli, ready):
    hosts = cli("host", "list")[1]
    assert [h["role"] for h in hosts] == ["clc", "walrus", "cc", "nc"]
    assert cli("host", "show", "nc")[1]["facts"]["accelerator"] == "kvm"
    assert cli("host", "drain", "nc")[1]["state"] == "draining"
    assert cli("host", "resume", "nc")[1]["state"] == "up"
    assert cli("host", "refresh", "nc")[0] == 0
    assert cli("host", "token")[1]["token"].startswith("ejt.")
    assert cli("host", "remove", "cc", "--yes")[0] == 5
    assert cli("host", "remove", "nc", "--yes")[0] == 0
    assert cli("status")[1]["health"] == "bad"


def test_people(cli, tmp_path):
    file = tmp_path / "password"
    file.write_text("another horse battery\n")
    made = cli("user", "add", "eve", "--password-file", str(file))[1]
    assert (made["username"], made["role"]) == ("eve", "user")
    assert cli("user", "add", "eve", "--password-file", str(file))[0] == 5
    file.write_text(PASSWORD)
    assert cli("login", URL, "--user", "root", "--password-file", str(file))[0] == 0
    file.write_text("another horse battery\n")
    assert cli("admin", "password", "--password-file", str(file))[0] == 2, "the current one is asked for too"
    current = tmp_path / "current"
    current.write_text(PASSWORD)
    assert cli("admin", "password", "--password-file", str(file), "--current-password-file", str(current))[0] == 0


def test_people_come_and_go(cli):
    made = cli("user", "add", "eve")[1]
    assert [u["username"] for u in cli("user", "list")[1]] == ["root", "eve"]
    assert cli("user", "show", "eve")[1]["instances"] == 0
    token = sign_in.token("eve", made["password"])[1]
    reset = cli("user", "password", "eve")[1]
    assert reset["changed"]
    assert reset["password"] != made["password"]
    assert cli("instance", "list", EDUCLOUD_TOKEN=token)[0] == 4
    assert cli("user", "delete", "eve")[0] == 2, "nobody was there to ask"
    assert cli("user", "delete", "eve", "--yes")[1] == {"username": "eve", "deleted": True}
    assert cli("user", "delete", "root", "--yes")[0] == 4
    assert cli("user", "show", "eve")[0] == 3


def test_images_go_in_and_out(cli, world, tmp_path, monkeypatch):
    from tests.api.test_uploads import KERNEL, publish

    world.cluster()
    routes, library = store_door.behind_api(tmp_path)
    monkeypatch.setattr(store, "transport", [lambda: routes])
    file = tmp_path / "kernel"
    file.write_bytes(KERNEL)
    code, task = cli("image", "upload", "--kernel", str(file), "--name", "new", "--no-wait")
    assert (code, task["kind"]) == (0, "image/publish"), task
    (upload,) = (p.name for p in (tmp_path / "uploads").iterdir())
    assert library.received(upload) == {"kernel": len(KERNEL)}
    assert cli("image", "list")[1][0]["state"] == "building"

    publish(library, upload, Task.objects.get(pk=task["id"]))
    assert cli("image", "versions", "new")[1][0]["size_bytes"] == len(KERNEL)
    out = tmp_path / "out"
    assert cli("image", "download", "new", str(out), "--part", "kernel")[0] == 0
    assert out.read_bytes() == KERNEL
    assert cli("image", "delete", "new", "--yes")[0] == 0
    assert cli("image", "show", "new")[0] == 3


def test_the_next_version_by_the_client(cli, world, admin):
    world.cluster()
    version = world.image(admin, "disk").versions.get()
    version.blobs = [{"part": "disk", "sha256": "0" * 64, "index": "0" * 64, "size": 1, "format": "raw", "virtual_size": 1}]
    version.save()
    code, space = cli("image", "modify", "disk", "--memory", "256M", "--no-wait")
    assert (code, space["state"], space["instance"]["memory_bytes"]) == (0, "preparing", 256 * 2**20), space
    assert cli("image", "create", "lab", "--from", "disk:1", "--no-wait")[1]["is_new"]
    assert {s["image"] for s in cli("workspace", "list")[1]} == {"disk", "lab"}
    assert cli("workspace", "show", space["id"])[1]["id"] == space["id"]
    assert cli("workspace", "start", space["id"], "--no-wait")[0] == 5
    assert cli("workspace", "abandon", space["id"])[0] == 2, "nobody was there to ask"
    Workspace.objects.update(state="editing")
    Instance.objects.update(state="stopped", cluster=Host.objects.get(role="cc").pk, node="nc-00000001")
    assert cli("workspace", "start", space["id"], "--no-wait")[1]["instance"]["state"] == "queued"
    assert cli("workspace", "screen", space["id"])[1]["url"].endswith("/screen/")
    Instance.objects.update(state="running")
    assert cli("workspace", "stop", space["id"], "--grace", "3", "--no-wait")[1]["instance"]["state"] == "stopping"
    Instance.objects.update(state="stopped")
    assert cli("workspace", "submit", space["id"], "--note", "more", "--no-wait")[1]["state"] == "submitting"
    assert cli("workspace", "abandon", space["id"], "--yes", "--no-wait")[1]["state"] == "abandoned"
    assert cli("image", "rollback", "disk", "--to", "1")[0] == 5
    assert cli("image", "retire", "disk", "--version", "1", "--yes")[0] == 5
    assert cli("image", "retire", "disk", "--version", "1")[0] == 2


def test_the_map_of_versions(cli, ready, world, capsys):
    from luhyadb.models import Host

    node = Host.objects.get(role="nc")
    world.facts(node, blobs=[ready.versions.get().blobs[0]["sha256"]])
    (version,) = cli("image", "versions", "tiny")[1]
    assert [(c["host"], c["whole"], c["bytes_done"]) for c in version["cached_on"]] == [(node.pk, False, 100)]
    from deploy.cli.images import _print_map

    capsys.readouterr()
    _print_map([version, {"version": 2, "cached_on": []}, {"version": 3, "cached_on": [version["cached_on"][0] | {"whole": True}]}])
    assert capsys.readouterr().out.split("\n")[1:3] == [
        f"HOST{' ' * (len(node.pk) - 4)}  NAME  ROLE  V1              V3", f"{node.pk}  nc    nc    100 B of 200 B  whole",
    ]


def test_prefetch(cli, ready):
    code, made = cli("image", "prefetch", "--image", "tiny", "--hosts", "nc", "--by", "08:00", "--no-wait")
    assert code == 0, made
    task = Task.objects.get()
    assert (made["id"], made["kind"], task.subject) == (task.pk, "image/prefetch", ready.pk)
    assert sorted(s["state"] for s in made["steps"]) == ["waiting", "waiting"], "the node, and its cluster on the way"
    assert {s["bytes_total"] for s in made["steps"]} == {200}
    assert cli("image", "prefetch", "--image", "tiny:9", "--no-wait")[0] == 5
    assert cli("image", "prefetch", "--image", "tiny", "--hosts", "walrus", "--no-wait")[0] == 3
    assert cli("image", "prefetch", "--image", "tiny", "--hosts", ",", "--no-wait")[0] == 2
    assert cli("image", "prefetch", "--image", "tiny", "--by", "noonish", "--no-wait")[0] == 2
    assert cli("image", "prefetch", "--image", "tiny", "--by", "2001-01-01T00:00", "--no-wait")[0] == 2
    assert cli("task", "cancel", task.pk)[1]["state"] == "cancelling"


def test_restore_and_renew(cli, world, admin, ready):
    assert cli("instance", "run", "--image", "tiny", "--name", "one", "--memory", "128M", "--transient", "--data-disk", "32M", "--no-wait")[0] == 0
    shown = cli("instance", "show", "one")[1]
    assert (shown["persistence"], shown["data_disk_bytes"], shown["image_version"], shown["newest_version"]) == ("transient", 32 * 2**20, 1, 1)
    assert cli("instance", "restore", "one", "--yes", "--no-wait")[0] == 5, "it waits for its first run"
    Task.objects.update(state="done")
    Instance.objects.update(state="running", node="nc-00000001", cluster=Host.objects.get(role="cc").pk)
    assert cli("instance", "restore", "one")[0] == 2, "nobody is there to ask"
    assert cli("instance", "restore", "one", "--version", "9", "--yes")[0] == 3
    code, made = cli("instance", "restore", "one", "--yes", "--no-wait")
    assert (code, made["kind"]) == (0, "instance/restore")
    assert cli("task", "cancel", made["id"])[0] == 0
    Task.objects.update(state="done")
    Instance.objects.update(state="running")
    version = ready.versions.get()
    version.pk, version.version = None, 2
    version.save()
    assert cli("instance", "show", "one")[1]["newest_version"] == 2
    assert cli("image", "renew", "tiny")[0] == 2
    code, found = cli("image", "renew", "tiny", "--transient-only", "--yes", "--no-wait")
    assert (code, [t["subject_name"] for t in found["tasks"]], found["passed_over"]) == (0, ["one"], [])
    assert cli("image", "renew", "tiny", "--yes", "--no-wait")[1]["passed_over"] == [Instance.objects.get().pk]


def test_what_is_said_of_an_image(cli, ready, world):
    world.group("edu.school")
    code, said = cli("image", "set", "tiny", "--disk-bus", "ide", "--owner-group", "edu.school", "--architecture", "i686", "--os-distro", "")
    assert code == 0, said
    assert (said["owner_group"], said["versions"][-1]["hardware"]["disk_bus"]) == ("edu.school", "ide")
    assert [i["name"] for i in cli("image", "list", "--group", "edu", "--architecture", "i686", "--sort", "name")[1]] == ["tiny"]
    assert cli("image", "list", "--group", "elsewhere")[1] == []
    assert cli("image", "set", "tiny")[0] == 2
    code, why = cli("image", "set", "tiny", "--firmware-type", "uefi")
    assert (code, "nodes have no firmware" in json.dumps(why)) == (2, True)
    code, _ = cli("image", "import", "https://example.org/d.raw", "--name", "new", "--property", "disk-bus=sata", "--no-wait")
    assert code == 0
    assert cli("image", "show", "new")[1]["versions"][0]["hardware"]["disk_bus"] == "sata"
    assert cli("image", "import", "https://example.org/d.raw", "--name", "new", "--property", "sata")[0] == 2


def test_which_versions_stay(cli, world, admin):
    world.cluster()
    world.image(admin, "lab", versions=4)
    Instance.objects.all().delete()
    assert cli("instance", "run", "--image", "lab:1", "--name", "one", "--no-wait")[0] == 0
    assert cli("image", "pin", "lab", "2")[0] == 0
    dry = cli("image", "retention", "lab", "--keep", "1", "--dry-run")[1]
    assert [(v["version"], v["because"]) for v in dry["versions"]] == [(1, "used"), (2, "pinned"), (3, ""), (4, "new")]
    assert cli("image", "retention", "lab")[1]["is_default"]
    assert [v["version"] for v in cli("image", "retention", "lab", "--keep", "1")[1]["went"]] == [3]
    assert [v["state"] for v in cli("image", "unpin", "lab", "2")[1]["versions"]] == ["published", "published", "retired", "published"]
    assert cli("image", "retention", "lab", "--keep", "all")[1]["keep"] == 0
    assert cli("image", "retention", "lab", "--keep", "default")[1]["is_default"]
    assert [cli("image", "retention", "lab", "--keep", wrong, *more)[0] for wrong, more in (("few", ()), ("default", ("--dry-run",)))] == [2, 2]
    assert [u["name"] for u in cli("image", "uses", "lab")[1][0]["used_by"]] == ["one"]
    code, why = cli("image", "delete", "lab", "--yes")
    assert (code, "needed by one" in json.dumps(why)) == (5, True)
    code, told = cli("image", "retention", "lab", "--keep", "1", "--dry-run", plain=True)
    assert (code, told.splitlines()[2].split()) == (0, ["1", "stays:", "used", "one"]), told
    code, told = cli("image", "uses", "lab", plain=True)
    assert (code, "instance" in told, "one" in told) == (0, True, True), told


def test_what_two_versions_share(cli, world, admin, api):
    world.cluster()
    image = world.image(admin, "lab", versions=2)
    asked = api(admin).post("/api/v1/images/lab/diff/", {"one": 1, "other": 2}, format="json")
    assert (asked.status_code, asked.json()["kind"]) == (202, "image/compare")
    assert cli("image", "diff", "lab", "1", "1")[0] == 2
    one, other = image.versions.order_by("version")
    amount = {"blocks": 3, "bytes": 190_000}
    told = {"only_one": amount, "only_other": amount, "shared": amount}
    comparisons.ended(Task.objects.get(), Outcome(command="c", task=asked.json()["id"], difference=told))
    found = cli("image", "diff", "lab", "1", "2")
    assert found == (0, {"one": one.version, "other": other.version, **told})
    assert api(admin).get("/api/v1/images/lab/diff/").json()["results"] == [found[1]]
    told = cli("image", "diff", "lab", "1", "2", plain=True)[1]
    assert [line.split()[-3:] for line in told.splitlines()[1:]] == [["3", "185.5", "KiB"]] * 3, told


def test_where_versions_come_from(cli, world, admin):
    image = world.image(admin, "lab")
    images.add_version(image, image.versions.get(), "one\nline", "")
    assert [v["came"] for v in cli("image", "lineage", "lab")[1]] == ["upload", "change"]
    told = cli("image", "lineage", "lab", plain=True)[1].splitlines()
    assert [line[:4] for line in told] == ["*  v", "*  v"]
    assert told[0].endswith("one line")
    assert "v1 brought in" in told[1]


@pytest.fixture
def placed(cli, ready):
    """A machine called one, in the group web, with a place."""
    cluster = Host.objects.get(role="cc")
    Host.objects.filter(pk=cluster.pk).update(speaks=ROLE.speaks | {AccessSet.kind: 1})
    assert cli("security-group", "create", "web", "--allow", "tcp:80-81")[1]["rules"] == [{"protocol": "tcp", "ports": "80-81", "source": "0.0.0.0/0"}]
    assert cli("instance", "run", "--image", "tiny", "--name", "one", "--group", "web", "--no-wait")[0] == 0
    assert cli("forward", "add", "one", "22")[0] == 5, "it has no place yet"
    Instance.objects.update(state="running", node="nc-00000001", cluster=cluster.pk)


def test_ports_of_an_instance(cli, placed):
    code, made = cli("forward", "add", "one", "22", "--from", "10.0.0.0/8", "--for", "2h", "--no-wait")
    assert (code, made["guest_port"], made["sources"], made["port"]) == (0, 22, ["10.0.0.0/8"], None), made
    assert made["until"]

    class Answering(clock.ManualClock):
        def sleep(self, seconds):
            super().sleep(seconds)
            Forward.objects.filter(guest_port=80).update(address="192.0.2.1", port=40022)
            Forward.objects.filter(guest_port=81).update(trouble={"code": "quota", "what": "No port is free"})

    before = clock.use(Answering(clock.now()))
    try:
        assert cli("forward", "add", "one", "53", "--udp")[0] == 7, "its cluster says nothing"
        assert cli("forward", "add", "one", "80", plain=True) == (0, "192.0.2.1:40022\n")
        assert cli("forward", "add", "one", "81")[0] == 6
        assert cli("forward", "delete", "one", "81")[0] == 0
    finally:
        clock.use(before)
    assert [f["guest_port"] for f in cli("forward", "list", "one")[1]] == [22, 53, 80]
    assert "192.0.2.1:40022" in cli("forward", "list", "one", plain=True)[1]
    assert cli("forward", "delete", "one", "53")[0] == 3
    assert cli("forward", "delete", "one", "53/udp")[1]["deleted"]
    assert cli("forward", "delete", "one", made["id"])[0] == 0
    assert [cli("forward", "add", "one", *wrong)[0] for wrong in (("0",), ("22", "--for", "soon"), ("22", "--from", "here"))] == [2, 2, 2]


def test_what_may_reach_an_instance(cli, placed):
    cli("forward", "add", "one", "80", "--no-wait")
    Forward.objects.update(trouble={"code": "quota", "what": "No port is free"})
    assert cli("instance", "rules", "one")[1]["groups"][0]["name"] == "web"
    assert len(cli("instance", "rules", "one", "--allow", "tcp:22:10.0.0.0/8", "--allow", "icmp")[1]["rules"]) == 2
    assert len(cli("instance", "rules", "one", "--allow", "any:2001:db8::/32")[1]["rules"]) == 3
    told = cli("instance", "show", "one", plain=True)[1]
    for said in ("tcp:22:10.0.0.0/8 icmp:0.0.0.0/0 any:2001:db8::/32", "group web", "tcp:80-81:0.0.0.0/0", "forward 80/tcp", "No port is free"):
        assert said in told, told
    assert cli("instance", "rules", "one", "--allow", "tcp")[0] == 2
    cleared = cli("instance", "rules", "one", "--clear", "--allow", "icmp")[1]
    assert (len(cleared["rules"]), cleared["groups"]) == (1, [])
    assert [g["name"] for g in cli("instance", "rules", "one", "--group", "web")[1]["groups"]] == ["web"]
    assert "tcp" in cli("instance", "rules", "one", plain=True)[1]
    assert Access.objects.get().number > 4


def test_rules_of_a_group(cli, placed):
    assert cli("security-group", "rule", "add", "web", "tcp:443")[1]["instances"] == 1
    assert cli("security-group", "rule", "add", "web", "tcp:443")[0] == 5
    assert len(cli("security-group", "rule", "remove", "web", "tcp:443")[1]["rules"]) == 1
    assert cli("security-group", "rule", "remove", "web", "tcp:443")[0] == 3
    assert [g["name"] for g in cli("security-group", "list")[1]] == ["web"]
    assert cli("security-group", "show", "web")[1]["owner"] == "root"
    assert "tcp:80-81" in cli("security-group", "list", plain=True)[1]
    assert cli("security-group", "delete", "web")[0] == 2, "nobody was there to ask"
    assert cli("security-group", "delete", "web", "--yes")[0] == 5
    assert cli("instance", "rules", "one", "--clear")[0] == 0
    assert cli("security-group", "delete", "web", "--yes")[1]["deleted"]


def test_public_addresses(cli, ready):
    cluster = Host.objects.get(role="cc")
    Host.objects.filter(pk=cluster.pk).update(speaks=ROLE.speaks)
    assert cli("elastic", "allocate")[0] == 3
    assert [e["address"] for e in cli("elastic", "add", "192.0.2.10-192.0.2.11", "192.0.2.20")[1]] == ["192.0.2.10", "192.0.2.11", "192.0.2.20"]
    assert cli("elastic", "add", "192.0.2.10")[0] == 5
    assert cli("elastic", "allocate", "--cluster", "cc")[1]["address"] == "192.0.2.10"
    assert cli("instance", "run", "--image", "tiny", "--name", "one", "--no-wait")[0] == 0
    assert cli("elastic", "associate", "192.0.2.10", "one")[0] == 5
    Instance.objects.update(state="running", node="nc-00000001", cluster=cluster.pk)
    assert cli("elastic", "associate", "192.0.2.10", "one")[1]["instance_name"] == "one"
    assert "192.0.2.10" in cli("instance", "show", "one", plain=True)[1]
    assert cli("elastic", "show", "192.0.2.10")[1]["state"] == "associated"
    assert cli("elastic", "dissociate", "192.0.2.10")[1]["state"] == "allocated"
    assert cli("elastic", "release", "192.0.2.10")[0] == 2, "nobody was there to ask"
    assert cli("elastic", "release", "192.0.2.10", "--yes")[1]["released"]
    assert [e["state"] for e in cli("elastic", "list")[1]] == ["resting", "free", "free"]
    assert cli("elastic", "retire", "192.0.2.11", "192.0.2.20", "--yes")[0] == 0
    assert "192.0.2.11" not in cli("elastic", "list", plain=True)[1]
    closed = cli("network", "create", "--name", "class-7", "--subnet", "10.40.0.0/24", "--no-way-out", "--isolated")[1]
    assert (closed["way_out"], closed["isolated"]) == (False, True)


def test_groups_roles_and_rights(cli, ready, world):
    assert cli("group", "create", "edu")[0] == 0
    assert cli("group", "create", "edu.a")[1]["path"] == "edu.a"
    assert [each["path"] for each in cli("group", "list", "--below", "edu")[1]] == ["edu", "edu.a"]
    assert cli("group", "move", "edu.a", "edu.b")[1]["path"] == "edu.b"
    assert cli("access-role", "create", "watcher", "--allow", "instance:read")[1]["permissions"] == {"instance": ["read"]}
    assert cli("access-role", "set", "watcher", "--allow", "instance:read,execute", "--allow", "image:read")[1]["permissions"] == {
        "image": ["read"], "instance": ["execute", "read"]}
    assert cli("access-role", "create", "x", "--allow", "instance")[0] == 2
    world.account("eve")
    given = cli("access-role", "give", "watcher", "eve", "edu.b")[1]
    assert [(each["role"], each["group"]) for each in cli("access-role", "grants", "--user", "eve")[1]] == [("watcher", "edu.b")]
    assert cli("access-role", "take", given["id"])[0] == 0
    assert cli("access-role", "delete", "watcher", "--yes")[1] == {"name": "watcher", "deleted": True}
    assert cli("user", "place", "eve", "--group", "edu.b", "--role", "powerUser")[1]["group"] == "edu.b"
    shared = cli("permission", "share", "image", "tiny", "--verb", "write", "--user", "eve")[1]
    assert [(each["verb"], each["user"]) for each in shared] == [("write", "eve")]
    code, told = cli("permission", "why", "write", "image", "tiny", "--user", "eve")
    assert (code, told["reasons"][0]["by"]) == (0, "share")
    assert cli("permission", "why", "delete", "image", "tiny", "--user", "eve")[0] == 1
    assert "eve" in [each["user"] for each in cli("permission", "who", "write", "image", "tiny")[1]]
    ident = next(each["id"] for each in cli("permission", "shares", "image", "tiny")[1] if each["user"] == "eve")
    assert cli("permission", "unshare", ident)[1] == {"id": ident, "deleted": True}
    assert cli("group", "delete", "edu.b", "--yes")[0] == 5


def test_many_accounts_at_once(cli, ready, tmp_path, world):
    world.group("edu")
    table, told = tmp_path / "class.csv", tmp_path / "passwords.csv"
    table.write_text("username,group\npaul,edu.one\npia,edu.one\n")
    code, said = cli("user", "import", str(table), "--preview")
    assert (code, said["done"], said["counts"]["add"], said["new_groups"]) == (0, False, 2, ["edu.one"])
    code, said = cli("user", "import", str(table), "--passwords", str(told))
    assert (code, said["done"], [each["password"] for each in said["lines"]]) == (0, True, [None, None])
    assert told.stat().st_mode & 0o777 == 0o600
    (_head, (paul, password), _pia) = (line.split(",") for line in told.read_text().split())
    assert (paul, len(password)) == ("paul", 19)
    assert cli("user", "import", str(table))[1]["counts"] == {"add": 0, "same": 2, "move": 0, "wrong": 0}
    assert cli("user", "numbered", "pupil-", "1", "2", "--group", "edu.one", "--passwords", str(told))[0] == 5
    made = cli("user", "numbered", "pupil-", "1", "2", "--group", "edu.one")[1]
    assert [(each["username"], bool(each["password"])) for each in made["lines"]] == [("pupil-1", True), ("pupil-2", True)]
    table.write_text("username\nb@d name\n")
    assert "line 2" in json.dumps(cli("user", "import", str(table))[1])
