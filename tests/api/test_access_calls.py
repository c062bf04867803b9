"""What reaches an instance, by API: forwards, rules, groups; who may change it, what is refused, what is said to the cluster."""

import datetime as dt
import json

import pytest

from cc.role import ROLE
from luhyaapi import clock
from luhyaapi.contracts.commands import AccessSet
from luhyadb.models import ElasticAddress, Event, Forward, Host, Instance, Outbox

SSH = {"protocol": "tcp", "ports": "22", "source": "10.0.0.0/8"}
PING = {"protocol": "icmp", "ports": "", "source": "0.0.0.0/0"}


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks | {AccessSet.kind: 1}, subnet="10.231.0.0/24")
    return found


@pytest.fixture
def one(world, admin, user, cluster):
    world.image(admin)
    row = world.instance(user, world_image(), node="nc-00000001", cluster=cluster.pk, state="running")
    Outbox.objects.all().delete()
    return row


def world_image():
    from luhyadb.models import Image

    return Image.objects.get()


def words(cluster):
    """The words about access that wait for a cluster, in order."""
    orders = [json.loads(row.order) for row in Outbox.objects.filter(to=cluster.pk).order_by("id")]
    return [json.loads(order["body"]) for order in orders if order["kind"] == AccessSet.kind]


def test_a_forward_is_asked_for_listed_shown_and_closed(api, user, cluster, one):
    at = f"/api/v1/instances/{one.name}/forwards/"
    made = api(user).post(at, {"guest_port": 22, "sources": ["10.0.0.0/8"], "for_s": 7200}, format="json")
    assert made.status_code == 201, made.json()
    told = made.json()
    assert (told["protocol"], told["guest_port"], told["address"], told["port"], told["error"]) == ("tcp", 22, None, None, None)
    (word,) = words(cluster)
    (asked,) = word["forwards"]
    assert (word["instance"], word["number"], asked["id"], asked["sources"]) == (one.pk, 1, told["id"], ["10.0.0.0/8"])
    assert asked["until"] == pytest.approx(clock.now() + 7200, abs=60)
    assert api(user).get(at).json()["results"] == [told] == api(user).get(f"/api/v1/instances/{one.pk}/").json()["reached"]["forwards"]
    assert api(user).get(f"{at}{told['id']}/").json() == told
    assert api(user).delete(f"{at}{told['id']}/").status_code == 204
    assert words(cluster)[-1] == {"instance": one.pk, "number": 2, "allow": [], "forwards": []}
    assert api(user).delete(f"{at}{told['id']}/").status_code == 404
    assert {"forward asked for", "forward closed"} <= set(Event.objects.filter(subject=one.pk).values_list("what", flat=True))


@pytest.mark.parametrize(("body", "status", "field"), [
    ({}, 422, "guest_port"), ({"guest_port": 0}, 422, "guest_port"), ({"guest_port": 65536}, 422, "guest_port"), ({"guest_port": "22"}, 422, "guest_port"),
    ({"guest_port": 22, "protocol": "icmp"}, 422, "protocol"), ({"guest_port": 22, "sources": ["10.0.0.1/8"]}, 422, "sources"),
    ({"guest_port": 22, "sources": ["::/0"]}, 422, "sources"), ({"guest_port": 22, "sources": ["0.0.0.0/0"] * 65}, 422, "sources"),
    ({"guest_port": 22, "until": "2001-01-01T00:00:00Z"}, 422, "until"), ({"guest_port": 22, "for_s": 0}, 422, "for_s"),
    ({"guest_port": 22, "for_s": -5}, 422, "for_s"), ({"guest_port": 22, "for_s": 10**12}, 422, "for_s"),
    ({"guest_port": 22, "for_s": 60, "until": "2100-01-01T00:00:00Z"}, 422, "until"), ({"guest_port": 22, "until": "soon"}, 422, "until"),
    ({"guest_port": 22, "port": 80}, 422, "port"),
])
def test_a_forward_that_cannot_be_is_refused_and_the_field_named(api, user, cluster, one, body, status, field):
    answer = api(user).post(f"/api/v1/instances/{one.pk}/forwards/", body, format="json")
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.json()
    assert not Forward.objects.exists()
    assert words(cluster) == []


def test_a_forward_ends_at_a_moment(api, user, one):
    until = dt.datetime.fromtimestamp(clock.now() + 900, dt.UTC).replace(microsecond=0)
    made = api(user).post(f"/api/v1/instances/{one.pk}/forwards/", {"guest_port": 80, "until": until.isoformat()}, format="json").json()
    assert Forward.objects.get().until == until.timestamp()
    assert made["until"].startswith(until.strftime("%Y-%m-%dT%H:%M:%S"))


def test_one_forward_per_port_and_protocol_and_sixteen_in_all(api, user, one):
    at = f"/api/v1/instances/{one.pk}/forwards/"
    for body in ({"guest_port": 53}, {"guest_port": 53, "protocol": "udp"}):
        assert api(user).post(at, body, format="json").status_code == 201
    assert api(user).post(at, {"guest_port": 53}, format="json").json()["code"] == "exists"
    for port in range(100, 114):
        assert api(user).post(at, {"guest_port": port}, format="json").status_code == 201
    full = api(user).post(at, {"guest_port": 200}, format="json").json()
    assert (full["code"], "16" in full["why"]) == ("quota", True)


def test_without_a_place_there_is_no_forward(api, user, one):
    for changes in ({"node": ""}, {"node": "nc-00000001", "wanted": "deleted"}):
        Instance.objects.update(**changes)
        answer = api(user).post(f"/api/v1/instances/{one.pk}/forwards/", {"guest_port": 22}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (409, "state")


def test_a_cluster_of_an_older_version_lets_nothing_in(api, user, cluster, one):
    Host.objects.filter(pk=cluster.pk).update(speaks={"instance/run": 1})
    for method, at, body in (("post", "forwards", {"guest_port": 22}), ("put", "rules", {"rules": [SSH]})):
        answer = getattr(api(user), method)(f"/api/v1/instances/{one.pk}/{at}/", body, format="json")
        assert (answer.status_code, "older version" in answer.json()["why"]) == (409, True)
    assert not Forward.objects.exists()


def test_rules_are_put_as_a_whole(api, user, cluster, one):
    at = f"/api/v1/instances/{one.pk}/rules/"
    assert api(user).get(at).json() == {"id": one.pk, "rules": [], "groups": []}
    wide = {"protocol": "udp", "ports": "5000-5010", "source": "2001:db8::/32"}
    put = api(user).put(at, {"rules": [SSH, wide, SSH, {"protocol": "any"}]}, format="json")
    assert put.status_code == 200, put.json()
    assert put.json()["rules"] == [SSH, wide, {"protocol": "any", "ports": "", "source": "0.0.0.0/0"}]
    assert words(cluster)[-1]["allow"] == [
        {"protocol": "tcp", "first_port": 22, "last_port": 22, "source": "10.0.0.0/8"},
        {"protocol": "udp", "first_port": 5000, "last_port": 5010, "source": "2001:db8::/32"},
        {"protocol": "any", "first_port": 0, "last_port": 0, "source": "0.0.0.0/0"},
    ]
    assert api(user).put(at, {"rules": []}, format="json").json()["rules"] == []
    assert (words(cluster)[-1]["number"], words(cluster)[-1]["allow"]) == (2, [])


@pytest.mark.parametrize("rule", [
    {"protocol": "sctp", "ports": "22"}, {"protocol": "tcp"}, {"protocol": "tcp", "ports": "0"}, {"protocol": "tcp", "ports": "22-21"},
    {"protocol": "tcp", "ports": "22,23"}, {"protocol": "tcp", "ports": "1-65536"}, {"protocol": "icmp", "ports": "8"},
    {"protocol": "any", "source": "everywhere"}, {"protocol": "any", "source": "10.0.0.1/8"}, {"protocol": "any", "target": "x"},
])
def test_a_rule_that_cannot_be_is_refused(api, user, cluster, one, rule):
    answer = api(user).put(f"/api/v1/instances/{one.pk}/rules/", {"rules": [rule]}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.json()
    assert words(cluster) == []


@pytest.mark.parametrize(("source", "why"), [
    ("10.0.0.1/8", "'10.0.0.1/8' is an address in 10.0.0.0/8"), ("here", "'here': give"), ("fe80::1%eth0/64", "give"), ("10.0.0.0/40", "give"),
])
def test_a_source_that_is_an_address_is_told_its_network(api, user, one, source, why):
    for ask in (lambda: api(user).put(f"/api/v1/instances/{one.pk}/rules/", {"rules": [{"protocol": "any", "source": source}]}, format="json"),
                lambda: api(user).post(f"/api/v1/instances/{one.pk}/forwards/", {"guest_port": 22, "sources": [source]}, format="json")):
        assert why in ask().json()["why"]


def test_too_many_rules_are_refused(api, user, one):
    many = [{"protocol": "tcp", "ports": str(n)} for n in range(1, 66)]
    answer = api(user).put(f"/api/v1/instances/{one.pk}/rules/", {"rules": many}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "quota")


def test_a_group_says_what_reaches_all_that_are_in_it(api, user, cluster, one):
    client = api(user)
    made = client.post("/api/v1/security-groups/", {"name": "web", "rules": [SSH]}, format="json")
    assert (made.status_code, made.json()["instances"], made.json()["rules"]) == (201, 0, [SSH]), made.json()
    assert client.post("/api/v1/security-groups/", {"name": "web"}, format="json").json()["code"] == "exists"
    assert client.post("/api/v1/security-groups/", {"name": "a b"}, format="json").json()["field"] == "name"
    put = client.put(f"/api/v1/instances/{one.pk}/groups/", {"groups": ["web", made.json()["id"]]}, format="json")
    assert [g["name"] for g in put.json()["groups"]] == ["web"], put.json()
    assert [rule["first_port"] for rule in words(cluster)[-1]["allow"]] == [22]
    client.put(f"/api/v1/instances/{one.pk}/rules/", {"rules": [SSH, PING]}, format="json")
    assert [rule["protocol"] for rule in words(cluster)[-1]["allow"]] == ["tcp", "icmp"], "each once"
    web = {"protocol": "tcp", "ports": "80", "source": "0.0.0.0/0"}
    assert client.post("/api/v1/security-groups/web/rules/", web, format="json").json()["rules"] == [SSH, web]
    assert client.post("/api/v1/security-groups/web/rules/", web, format="json").json()["code"] == "exists"
    assert [rule["first_port"] for rule in words(cluster)[-1]["allow"]] == [22, 0, 80]
    assert client.post("/api/v1/security-groups/web/rules/remove/", SSH, format="json").json()["rules"] == [web]
    assert client.post("/api/v1/security-groups/web/rules/remove/", SSH, format="json").status_code == 404
    assert client.put("/api/v1/security-groups/web/rules/", {"rules": []}, format="json").json()["rules"] == []
    shown = client.get("/api/v1/security-groups/web/").json()
    assert (shown["instances"], [shown]) == (1, client.get("/api/v1/security-groups/").json()["results"])
    refused = client.delete("/api/v1/security-groups/web/")
    assert (refused.status_code, one.name in refused.json()["why"]) == (409, True)
    numbers = [word["number"] for word in words(cluster)]
    assert numbers == sorted(set(numbers))
    assert client.put(f"/api/v1/instances/{one.pk}/groups/", {"groups": []}, format="json").json()["groups"] == []
    assert [rule["protocol"] for rule in words(cluster)[-1]["allow"]] == ["tcp", "icmp"]
    assert client.delete("/api/v1/security-groups/web/").status_code == 204


def test_a_machine_is_in_its_groups_from_its_start(api, user, cluster, one):
    api(user).post("/api/v1/security-groups/", {"name": "web", "rules": [SSH]}, format="json")
    made = api(user).post("/api/v1/instances/", {"image": "tiny", "name": "two", "count": 2, "groups": ["web"]}, format="json")
    assert made.status_code == 202, made.json()
    assert api(user).get("/api/v1/security-groups/web/").json()["instances"] == 2
    assert words(cluster) == [], "it has no place yet"
    missing = api(user).post("/api/v1/instances/", {"image": "tiny", "groups": ["none"]}, format="json")
    assert missing.status_code == 404


def test_what_is_others_is_not_there(api, user, other, admin, one):
    api(user).post("/api/v1/security-groups/", {"name": "web", "rules": [SSH]}, format="json")
    made = api(user).post(f"/api/v1/instances/{one.pk}/forwards/", {"guest_port": 22}, format="json").json()
    for method, at in (("get", "forwards/"), ("post", "forwards/"), ("get", "rules/"), ("put", "rules/"), ("put", "groups/"),
                       ("delete", f"forwards/{made['id']}/")):
        body = {"guest_port": 23} if method == "post" else {"rules": []} if at == "rules/" else {"groups": []}
        answer = getattr(api(other), method)(f"/api/v1/instances/{one.pk}/{at}", *(() if method in ("get", "delete") else (body,)), format="json")
        assert answer.status_code == 404, (method, at)
    for method, at in (("get", ""), ("delete", ""), ("post", "rules/"), ("put", "rules/"), ("post", "rules/remove/")):
        body = {"rules": []} if method == "put" else SSH
        answer = getattr(api(other), method)(f"/api/v1/security-groups/web/{at}", *(() if method in ("get", "delete") else (body,)), format="json")
        assert answer.status_code == 404, (method, at)
    assert api(other).get("/api/v1/security-groups/").json()["results"] == []
    assert api(admin).get("/api/v1/security-groups/web/").json()["owner"] == "ada"


def test_nobody_s_machine_is_in_a_group_of_somebody_who_could_open_it(api, world, user, other, admin, cluster, one):
    api(other).post("/api/v1/security-groups/", {"name": "bobs", "rules": [SSH]}, format="json")
    refused = api(admin).put(f"/api/v1/instances/{one.pk}/groups/", {"groups": ["bobs"]}, format="json")
    assert (refused.status_code, refused.json()["field"]) == (422, "groups")
    api(admin).post("/api/v1/security-groups/", {"name": "school", "rules": [SSH]}, format="json")
    assert api(admin).put(f"/api/v1/instances/{one.pk}/groups/", {"groups": ["school"]}, format="json").status_code == 200
    school = api(user).get(f"/api/v1/instances/{one.pk}/rules/").json()["groups"][0]["id"]
    api(user).post("/api/v1/security-groups/", {"name": "own"}, format="json")
    kept = api(user).put(f"/api/v1/instances/{one.pk}/groups/", {"groups": [school, "own"]}, format="json").json()
    assert [g["name"] for g in kept["groups"]] == ["own", "school"], "where it is, it may stay"
    assert api(user).put(f"/api/v1/instances/{one.pk}/groups/", {"groups": ["own"]}, format="json").status_code == 200
    assert api(user).put(f"/api/v1/instances/{one.pk}/groups/", {"groups": [school]}, format="json").status_code == 404
    for who in (user, other):
        api(who).post("/api/v1/security-groups/", {"name": "same"}, format="json")
    assert api(admin).get("/api/v1/security-groups/same/").json()["code"] == "conflict"


def test_all_that_meet_in_one_machine_are_bounded(api, user, one):
    client = api(user)
    for n in range(4):
        rules = [{"protocol": "tcp", "ports": str(1000 * n + m)} for m in range(1, 65)]
        client.post("/api/v1/security-groups/", {"name": f"g{n}", "rules": rules}, format="json")
    assert client.put(f"/api/v1/instances/{one.pk}/groups/", {"groups": ["g0", "g1", "g2", "g3"]}, format="json").status_code == 200
    full = client.put(f"/api/v1/instances/{one.pk}/rules/", {"rules": [{"protocol": "any"}]}, format="json")
    assert (full.status_code, "257" in full.json()["why"]) == (403, True)


def test_the_file_of_a_remote_desktop_names_what_leads_there(api, user, cluster, one):
    at = f"/api/v1/instances/{one.name}/remote-desktop/"
    refused = api(user).get(at)
    assert (refused.status_code, refused.json()["code"]) == (409, "state")
    assert "educloud forward add" in refused.json()["hint"]

    def told():
        answer = api(user).get(at).json()
        assert answer["name"] == f"{one.name}.rdp"
        assert answer["text"].endswith("\r\n")
        return answer["text"].split("\r\n")[0]

    Instance.objects.filter(pk=one.pk).update(nics=[{"mac": "52:54:00:00:00:01", "ip": "192.0.2.7", "network": "lan", "mode": "campus"}])
    assert told() == "full address:s:192.0.2.7:3389"
    ElasticAddress.objects.create(id="eip-00000001", address="198.51.100.7", number=1, cluster=cluster, owner=user, instance=one, created_at=1, allocated_at=1)
    assert told() == "full address:s:198.51.100.7:3389"
    api(user).post(f"/api/v1/instances/{one.pk}/forwards/", {"guest_port": 3389}, format="json")
    assert told() == "full address:s:198.51.100.7:3389", "no port was lent for it yet"
    Forward.objects.update(address="203.0.113.1", port=20007)
    assert told() == "full address:s:203.0.113.1:20007"
