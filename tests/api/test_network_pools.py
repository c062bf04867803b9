"""Pools, leases and reservations by API and by the client: what a cluster said, what is kept for whom, and who may ask."""

from __future__ import annotations

import json
import operator

import httpx
import pytest

from cc.role import ROLE
from clc.services import leases, pictures, tokens
from deploy.cli.main import main
from deploy.cli.session import Session
from luhyaapi import ids
from luhyaapi.contracts.reports import LeasesFacts
from luhyaapi.contracts.specs import LeaseFacts
from luhyadb.models import Host, Outbox, Reservation

QUESTION = "prb-11111111"
POOL = {"first": 0, "last": 0, "size": 5, "free": 2, "lent": 1, "resting": 0, "reserved": 1, "taken": 1}
PORTS = POOL | {"pool": "ports", "first": 20000, "last": 20004}
ETHERS = "00:16:3e:00:00:01 10.40.0.3\n00:16:3e:00:00:02 10.40.0.4\n"


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks, subnet="10.231.0.0/29")
    return found


@pytest.fixture
def network(api, admin, cluster):
    made = api(admin).post("/api/v1/networks/", {"name": "class-7", "subnet": "10.40.0.0/29"}, format="json").json()
    pictures.board().write(f"host:{cluster.pk}", {"pools": [POOL | {"pool": made["id"]}, POOL | {"pool": "default"}, PORTS]})
    return made


@pytest.fixture
def say(cluster, network):
    """``say(leases, ...)``: that is what the cluster answers to the next question."""
    before = ids.use(lambda size: b"\x11" * size)

    def say(*found, of=network["id"], **more):
        leases.found(pictures.board(), LeasesFacts(host=cluster.pk, question=QUESTION, network=of, leases=found, **more))

    yield say
    ids.use(before)


@pytest.fixture
def client(world, tmp_path, capsys, admin):
    environ = {"EDUCLOUD_URL": "http://localhost", "EDUCLOUD_TOKEN": tokens.signed_in(admin)[1]}

    def call(*words):
        def answer(asked):
            got = world.api(None).generic(asked.method, asked.url.raw_path.decode(), asked.read(), content_type="application/json",
                                          headers=dict(asked.headers))
            return httpx.Response(got.status_code, content=got.content, headers=dict(got.items()))

        code = main(words, Session(environ=environ, config=tmp_path / "config.toml", transport=httpx.MockTransport(answer), terminal=lambda: False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def lent(instance):
    return LeaseFacts(address="10.40.0.2", state="lent", mac="02:00:0a:28:00:02", instance=instance, name="one", since=1_800_000_000, seen_at=1_800_000_100)


def test_leases_are_told_page_by_page_with_their_owners(api, admin, user, world, say):
    row = world.instance(user, world.image(user))
    say(lent(row.pk), more=True)
    found = api(admin).get("/api/v1/networks/class-7/leases/?limit=1").json()
    assert found["results"] == [{
        "address": "10.40.0.2", "state": "lent", "mac": "02:00:0a:28:00:02", "instance": row.pk, "name": "one", "owner": user.username,
        "since": "2027-01-15T08:00:00.000Z", "until": None, "seen_at": "2027-01-15T08:01:40.000Z"}]
    assert found["next"].endswith("/api/v1/networks/class-7/leases/?limit=1&cursor=10.40.0.2")
    order = Outbox.objects.get(command__endswith="leases.0").order
    assert '\\"limit\\":1' in order
    assert "leases/tell" in order


@pytest.mark.parametrize("query", ["limit=0", "cursor=x", "cursor=10.40.0", "state=lent"])
def test_a_question_that_cannot_be_is_refused(api, admin, say, query):
    assert api(admin).get(f"/api/v1/networks/class-7/leases/?{query}").status_code == 422
    assert not Outbox.objects.filter(command__endswith="leases.0").exists()


def test_how_addresses_stand_is_told_in_stretches(api, admin, say):
    say(usage="glrrtf")
    found = api(admin).get("/api/v1/networks/class-7/usage/").json()
    assert [(each["state"], each["first"], each["count"]) for each in found["stretches"]] == [
        ("gateway", "10.40.0.1", 1), ("lent", "10.40.0.2", 1), ("reserved", "10.40.0.3", 2), ("taken", "10.40.0.5", 1), ("free", "10.40.0.6", 1)]
    assert found["counts"] == {"free": 1, "lent": 1, "resting": 0, "reserved": 2, "taken": 1, "outside": 0}


def test_a_cluster_that_is_silent_is_told(api, admin, network, monkeypatch):
    monkeypatch.setattr(leases, "PATIENCE_S", 0.1)
    answer = api(admin).get("/api/v1/networks/class-7/leases/")
    assert (answer.status_code, answer.json()["code"]) == (503, "host_silent")


def test_counts_stand_beside_each_network_and_the_clusters_own_has_ports(api, admin, user, cluster, network):
    shown = api(user).get("/api/v1/networks/class-7/").json()
    assert (shown["pool"]["free"], shown["pool"]["taken"], shown["ports"]) == (2, 1, [])
    assert shown["macs"].startswith("02:")
    assert shown["macs"].endswith(":0a:28:00:06")
    own = api(admin).get(f"/api/v1/networks/{cluster.pk}/").json()
    assert (own["id"], own["name"], own["subnet"], own["pool"]["lent"], own["ports"]) == (cluster.pk, "default", "10.231.0.0/29", 1, [PORTS])


def test_addresses_are_reserved_listed_and_given_up(api, admin, cluster, network):
    where = "/api/v1/networks/class-7/reservations/"
    made = api(admin).post(where, {"address": "10.40.0.5", "mac": "0:16:3e:0:0:1", "owner": admin.username}, format="json")
    assert (made.status_code, made.json()["mac"]) == (201, "00:16:3e:00:00:01")
    assert api(admin).post(where, {"address": "10.40.0.5"}, format="json").json()["code"] == "exists"
    assert api(admin).post(f"/api/v1/networks/{cluster.pk}/reservations/", {"address": "10.231.0.5"}, format="json").status_code == 201
    assert [each["address"] for each in api(admin).get(where).json()["results"]] == ["10.40.0.5"]
    assert api(admin).delete(f"{where}10.231.0.5/").status_code == 404
    assert api(admin).delete(f"{where}10.40.0.5/").status_code == 204
    assert api(admin).get(where).json()["results"] == []


def test_an_ethers_file_is_taken_whole_or_not_at_all(api, admin, network):
    where = "/api/v1/networks/class-7/reservations/import/"
    bad = api(admin).post(where, {"ethers": f"{ETHERS}00:16:3e:00:00:03 10.99.0.1\n"}, format="json")
    assert (bad.status_code, bad.json()["field"]) == (422, "ethers")
    assert "line 3: 10.99.0.1 cannot be reserved" in bad.json()["why"]
    assert not Reservation.objects.exists()
    made = api(admin).post(where, {"ethers": ETHERS}, format="json")
    assert [each["address"] for each in made.json()["results"]] == ["10.40.0.3", "10.40.0.4"]


def test_other_ranges(api, admin, network):
    changed = api(admin).patch("/api/v1/networks/class-7/", {"ranges": ["10.40.0.3-10.40.0.4"]}, format="json").json()
    assert (changed["ranges"], changed["addresses"]) == (["10.40.0.3-10.40.0.4"], 2)
    assert api(admin).patch("/api/v1/networks/class-7/", {"ranges": ["10.50.0.3"]}, format="json").status_code == 422
    assert api(admin).patch("/api/v1/networks/class-7/", {}, format="json").status_code == 422


def test_other_ports_of_a_cluster(api, admin, cluster, network):
    where = f"/api/v1/networks/{cluster.pk}/"
    assert api(admin).patch(where, {"ports": "30000-30099"}, format="json").status_code == 200
    said = json.loads(json.loads(Outbox.objects.order_by("id").last().order)["body"])
    assert said["ports"] == {"first": 30000, "last": 30099}
    assert api(admin).patch(where, {"ports": ""}, format="json").status_code == 200
    assert json.loads(json.loads(Outbox.objects.order_by("id").last().order)["body"])["ports"] is None


@pytest.mark.parametrize(("text", "code", "why"), [
    ("30000", "invalid", "give first-last"), ("30000-x", "invalid", "give first-last"), ("80-90", "invalid", "1024 to 65535"),
    ("30000-70000", "invalid", "1024 to 65535"), ("30099-30000", "invalid", "1024 to 65535"), ("9000-9200", "conflict", "the host nc: 9100"),
    ("8700-8710", "conflict", "a display: 8705-8709"),
])
def test_ports_that_cannot_be_lent_are_refused(api, admin, cluster, network, text, code, why):
    pictures.board().write(f"host:{cluster.pk}", {"pools": [PORTS | {"pool": "displays", "first": 8705, "last": 8709}]})
    Host.objects.filter(role__in=("cc", "nc")).update(address="http://192.0.2.1:9100")
    before = Outbox.objects.count()
    answer = api(admin).patch(f"/api/v1/networks/{cluster.pk}/", {"ports": text}, format="json").json()
    assert (answer["code"], answer["field"]) == (code, "ports")
    assert why in answer["why"] or why.replace("nc", "cc") in answer["why"]
    assert Outbox.objects.count() == before


@pytest.mark.parametrize("port", ["console.port", "host.door_port", "host.stream_port", "broker.port"])
def test_ports_of_the_control_plane_are_refused_where_it_is_the_same_machine(api, admin, cluster, settings, port):
    Host.objects.filter(pk=cluster.pk).update(address=f"http://{settings.EDUCLOUD.host.address}:9100")
    number = operator.attrgetter(port)(settings.EDUCLOUD)
    answer = api(admin).patch(f"/api/v1/networks/{cluster.pk}/", {"ports": f"{number}-{number}"}, format="json").json()
    assert (answer["code"], answer["field"]) == ("conflict", "ports"), answer
    assert str(number) in answer["why"]


def test_a_clusters_own_network_is_also_called_default(api, admin, user, cluster, network, client):
    shown = api(admin).get(f"/api/v1/networks/{cluster.pk}/").json()
    assert api(admin).get("/api/v1/networks/default/").json() == shown
    assert api(admin).patch("/api/v1/networks/default/", {"ports": "30000-30099"}, format="json").json() == shown
    assert api(admin).patch("/api/v1/networks/default/", {"ranges": []}, format="json").json()["field"] == "ports"
    assert api(user).get("/api/v1/networks/default/").status_code == 403
    assert client("network", "set", "default", "--ports", "")[0] == 0
    assert cluster.pk in client("network", "show", "default")[1]


@pytest.mark.parametrize("ranges", [
    ["10.40.0.3-10.40.0.5", "10.40.0.5-10.40.0.6"], ["10.40.0.5", "10.40.0.2-10.40.0.6"], ["10.40.0.4", "10.40.0.4"],
])
def test_ranges_that_overlap_are_refused(api, admin, network, ranges):
    answer = api(admin).patch("/api/v1/networks/class-7/", {"ranges": ranges}, format="json").json()
    assert (answer["what"], answer["field"]) == ("Two ranges overlap", "ranges")


def test_the_client_changes_nothing_that_was_not_asked_for(client, admin, api, network):
    assert client("network", "set", "class-7", "--range", "10.40.0.3-10.40.0.4")[0] == 0
    code, _, told = client("network", "set", "class-7")
    assert (code, "Say what shall be lent" in told) == (2, True)
    assert api(admin).get("/api/v1/networks/class-7/").json()["ranges"] == ["10.40.0.3-10.40.0.4"]
    assert client("network", "set", "class-7", "--range", "")[0] == 0
    assert api(admin).get("/api/v1/networks/class-7/").json()["ranges"] == []


def test_a_large_ethers_file_asks_for_its_owner_once(api, admin, cluster, django_assert_max_num_queries):
    assert api(admin).post("/api/v1/networks/", {"name": "large", "subnet": "10.64.0.0/16"}, format="json").status_code == 201
    where = "/api/v1/networks/large/reservations/import/"
    lines = [f"00:16:3e:00:{n >> 8:02x}:{n & 255:02x} 10.64.{n >> 8}.{n & 255}" for n in range(2, 5002)]
    over = api(admin).post(where, {"ethers": "\n".join(lines)}, format="json").json()
    assert (over["code"], over["why"]) == ("quota", "at most 4096")
    with django_assert_max_num_queries(60):
        made = api(admin).post(where, {"ethers": "\r\n".join(lines[:4000]), "owner": admin.username}, format="json")
    assert len(made.json()["results"]) == 4000
    again = api(admin).post(where, {"ethers": "\n".join(lines[:4000]), "owner": admin.username}, format="json")
    assert again.json()["results"] == []


def test_each_is_changed_by_its_own(api, admin, user, cluster, network):
    for where, form in (("class-7", {"ports": ""}), (cluster.pk, {"ranges": []}), (cluster.pk, {}), ("class-7", {"ranges": [], "ports": ""})):
        assert api(admin).patch(f"/api/v1/networks/{where}/", form, format="json").status_code == 422, (where, form)
    assert api(user).patch(f"/api/v1/networks/{cluster.pk}/", {"ports": ""}, format="json").status_code == 403
    Host.objects.filter(pk=cluster.pk).update(speaks={"networks/set": 2})
    assert api(admin).patch(f"/api/v1/networks/{cluster.pk}/", {"ports": "30000-30001"}, format="json").json()["code"] == "state"


@pytest.mark.parametrize(("method", "where"), [
    ("get", "leases/"), ("get", "usage/"), ("get", "reservations/"), ("post", "reservations/"), ("post", "reservations/import/"),
    ("delete", "reservations/10.40.0.3/"), ("patch", ""),
])
def test_only_administrators_see_and_change_them(api, user, network, method, where):
    sent = {"post": {"address": "10.40.0.3"} if "import" not in where else {"ethers": ETHERS}, "patch": {"ranges": []}}.get(method)
    asked = getattr(api(user), method)(f"/api/v1/networks/class-7/{where}", sent, format="json")
    assert asked.status_code == 403, asked.content


def test_a_clusters_own_network_is_shown_to_administrators_alone(api, user, network, cluster):
    assert api(user).get(f"/api/v1/networks/{cluster.pk}/").status_code == 403


def test_the_client_shows_them(client, cluster, say):
    assert "10.40.0.0/29" in client("network", "list")[1]
    assert "FREE" in client("network", "list")[1]
    _, shown, _ = client("network", "show", cluster.pk)
    assert "ports 20000-20004: 1 lent, 2 free" in shown
    say(lent("ins-00000001"), usage="glffff")
    assert "10.40.0.2  lent   02:00:0a:28:00:02  ins-00000001" in client("network", "leases", "class-7")[1]
    assert client("network", "usage", "class-7")[1].startswith("class-7, 10.40.0.0/29: 4 free, 1 lent\n")


def test_the_client_changes_them(client, cluster, network, tmp_path):
    assert client("network", "set", "class-7", "--range", "10.40.0.3-10.40.0.6")[0] == 0
    assert client("network", "set", cluster.pk, "--ports", "30000-30099")[0] == 0
    assert client("network", "reserve", "class-7", "10.40.0.5", "--mac", "00:16:3e:00:00:09")[0] == 0
    assert "10.40.0.5  00:16:3e:00:00:09" in client("network", "reservations", "class-7")[1]
    assert client("network", "unreserve", "class-7", "10.40.0.5")[0] == 0
    file = tmp_path / "ethers"
    file.write_text(ETHERS)
    code, told, noted = client("network", "import-ethers", "class-7", str(file))
    assert (code, "10.40.0.4  00:16:3e:00:00:02" in told) == (0, True)
    assert "2 addresses are reserved now" in noted
    assert client("--json", "network", "import-ethers", "class-7", str(file))[1].strip() == "[]"
    file.write_bytes(b"\xef\xbb\xbf" + ETHERS.replace("\n", "\r\n").encode())
    assert client("--json", "network", "import-ethers", "class-7", str(file))[1].strip() == "[]", "as an editor of Windows writes it"
    file.write_bytes(b"")
    assert "The ethers file '" in client("network", "import-ethers", "class-7", str(file))[2]
    file.write_bytes(b"\xff\xfe")
    assert "no text in UTF-8" in client("network", "import-ethers", "class-7", str(file))[2]
