"""The door for hosts that want in, and the addresses that watch this process."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clc.services import hosts
from clc.services.own import own
from clc.web import joining
from luhyaapi.contracts.vocabulary import HostState
from luhyaapi.wire import identity
from luhyaapi.wire.memory import MemoryDownLink, MemoryWire
from luhyadb.models import Host, JoinToken

JOIN = "/clc/api/1.0/join/"
REQUEST = "r" * 24


@pytest.fixture(autouse=True)
def wire(world, monkeypatch):
    made = MemoryWire()
    monkeypatch.setattr(joining, "links", [MemoryDownLink(made, own().id)])
    return made


def form(**more):
    csr = identity.request(Ed25519PrivateKey.generate(), "new")
    return {"request": REQUEST, "role": "cc", "name": "cluster-1", "csr": csr, "address": "http://127.0.0.1:8602"} | more


def post(client, body):
    return client.post(JOIN, body if isinstance(body, bytes) else json.dumps(body), content_type="application/json")


def token(role="cc"):
    return hosts.make_token(None, role)[0]


def test_with_a_token_a_host_is_let_in_and_gets_its_membership(client):
    body = form(token=token())
    answer = post(client, body)
    assert (answer.status_code, answer.json()) == (202, {"state": "down"})
    got = client.get(f"{JOIN}{REQUEST}/")
    assert got.status_code == 200
    told = got.json()
    assert told["broker"] == f"memory://{told['host']}"
    assert {"certificate", "authority", "boss", "boss_certificate"} <= set(told)
    assert got["Cache-Control"] == "no-store"
    assert post(client, body).json() == {"state": "down"}
    assert Host.objects.filter(role="cc").count() == 1
    Host.objects.filter(pk=told["host"]).update(state="up", boot="b")
    again = client.get(f"{JOIN}{REQUEST}/")
    assert (again.status_code, again.json()["code"]) == (409, "state")


def test_without_a_token_it_waits_for_an_administrator(client, admin, api):
    assert post(client, form()).json() == {"state": "new"}
    waits = client.get(f"{JOIN}{REQUEST}/")
    assert (waits.status_code, waits.json()) == (202, {"state": "new"})
    (host,) = api(admin).get("/api/v1/hosts/?state=new").json()["results"]
    approved = api(admin).post(f"/api/v1/hosts/{host['id']}/approve/", {}, format="json")
    assert (approved.status_code, approved.json()["state"]) == (200, "down")
    assert client.get(f"{JOIN}{REQUEST}/").status_code == 200


def test_a_token_is_good_once_and_for_its_role(client):
    one = token("walrus")
    assert post(client, form(token=one)).json()["state"] == "new"
    assert post(client, form(request="s" * 24, role="walrus", token=one)).json()["state"] == "down"
    assert post(client, form(request="t" * 24, role="walrus", token=one)).json()["state"] == "new"
    JoinToken.objects.update(used_by="", expires_at=1)
    assert post(client, form(request="u" * 24, role="walrus", token=one)).json()["state"] == "new"


def test_the_same_request_with_another_key_is_refused(client):
    post(client, form())
    assert post(client, form()).json()["code"] == "conflict"


@pytest.mark.parametrize("change", [
    {"request": "short"}, {"request": "../" + "x" * 30}, {"request": "r" * 65}, {"request": 5}, {"role": "clc"}, {"role": "king"},
    {"role": "nc"}, {"name": ""}, {"name": "a b"}, {"name": "-a"}, {"name": "a\n"}, {"name": "x" * 64}, {"csr": "x"}, {"csr": "é"},
    {"csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"}, {"csr": "x" * 9000}, {"token": "x"},
    {"token": None}, {"address": "file:///etc/passwd"}, {"address": "http://a b"}, {"state": "up"},
])
def test_what_cannot_be_is_refused_and_leaves_nothing(client, change):
    answer = post(client, form(**change))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.content
    assert Host.objects.exclude(role="clc").count() == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 20_000, b'"' + b"x" * 40_000 + b'"'])
def test_a_body_that_is_none_is_refused(client, body):
    assert post(client, body).json()["code"] == "invalid"


def test_a_crowd_at_the_door_waits_outside_but_a_token_passes(client, monkeypatch):
    monkeypatch.setattr(joining, "WAITING_AT_MOST", 2)
    for n in range(2):
        assert post(client, form(request=f"{n}" * 24)).status_code == 202
    full = post(client, form(request="x" * 24))
    assert (full.status_code, full.json()["code"]) == (503, "busy")
    assert post(client, form(request="y" * 24, token=token())).json()["state"] == "down"


def test_nobody_fetches_what_is_not_there(client):
    for wanted in (REQUEST, "short", "x" * 65):
        assert client.get(f"{JOIN}{wanted}/").json()["code"] == "not_found"
    assert client.get(JOIN).json()["code"] == "unsupported"


def test_a_host_below_a_cluster_is_not_served_here(world, client):
    host = world.host("nc", boss="cc-00000000", request=REQUEST, state=HostState.DOWN, boot="")
    assert client.get(f"{JOIN}{REQUEST}/").json()["code"] == "not_found"
    assert host.certificate


def test_health_and_readiness(client, world, monkeypatch):
    assert client.get("/healthz").json() == {"ok": True}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert "broker: clc-relay does not report" in ready.json()["lines"]
    from clc.services import pictures

    monkeypatch.setattr(pictures.board(), "is_alive", lambda: False)
    assert (client.get("/readyz").status_code, client.get("/readyz").json()["reasons"][0][:6]) == (503, "board:")


def test_figures_are_for_this_machine_and_administrators(client, admin, user, api):
    assert b"educloud_refused_messages_total" in client.get("/metrics").content
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 401
    assert client.get("/metrics", HTTP_X_FORWARDED_FOR="192.0.2.1").status_code == 401
    assert api(user).get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
    assert api(admin).get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 200


def test_a_removed_host_is_forgotten(client, admin, api):
    post(client, form(token=token()))
    host = client.get(f"{JOIN}{REQUEST}/").json()["host"]
    assert api(admin).delete(f"/api/v1/hosts/{host}/").status_code == 204
    assert client.get(f"{JOIN}{REQUEST}/").json()["code"] == "not_found"
