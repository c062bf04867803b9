"""The CLC's door for hosts that want in, as a joining host knocks."""

from contextlib import nullcontext

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from clc import door
from clc.services import hosts, mandates
from clc.services.own import own
from deploy import roles
from luhyaapi.contracts.vocabulary import HostState
from luhyaapi.wire import identity
from luhyaapi.wire.memory import MemoryDownLink, MemoryWire
from luhyadb.models import Host, JoinToken

JOIN = "/clc/api/1.0/join/"
REQUEST = "r" * 24


@pytest.fixture
def knock(world):
    me = own()
    wire = MemoryWire()
    agent = roles.clc(settings.EDUCLOUD, me.membership, me.key, roles.Links(down=MemoryDownLink(wire, me.id), inline=True)).agent
    made = door.make(agent)

    def unhurried(environ, start_response):
        return made._application({**environ, "educloud.watched": nullcontext}, start_response)

    with httpx.Client(transport=httpx.WSGITransport(unhurried), base_url="http://clc") as client:
        yield client


def form(**more):
    csr = identity.request(Ed25519PrivateKey.generate(), "new")
    return {"request": REQUEST, "role": "cc", "name": "cluster-1", "csr": csr, "address": "http://127.0.0.1:8602"} | more


def post(client, body):
    return client.post(JOIN, content=body) if isinstance(body, bytes) else client.post(JOIN, json=body)


def token(role="cc"):
    return hosts.make_token(None, role)[0]


def state(request=REQUEST):
    return Host.objects.get(request=request).state


def test_with_a_token_a_host_is_let_in_and_gets_its_membership(knock):
    body = form(token=token())
    answer = post(knock, body)
    assert (answer.status_code, answer.json()) == (200, {"state": "down"})
    got = knock.get(f"{JOIN}{REQUEST}/")
    assert got.status_code == 200
    told = got.json()
    assert told["broker"].startswith(f"memory://{told['host']}:")
    assert {"certificate", "authority", "boss", "boss_certificate"} <= set(told)
    assert post(knock, body).json() == {"state": "down"}
    assert Host.objects.filter(role="cc").count() == 1
    Host.objects.filter(pk=told["host"]).update(state="up", boot="b")
    again = knock.get(f"{JOIN}{REQUEST}/")
    assert (again.status_code, again.json()["code"]) == (409, "state")


def test_without_a_token_it_waits_for_an_administrator(knock, admin, api):
    assert post(knock, form()).json() == {"state": "new"}
    waits = knock.get(f"{JOIN}{REQUEST}/")
    assert (waits.status_code, waits.json()) == (202, {"state": "new"})
    (host,) = api(admin).get("/api/v1/hosts/?state=new").json()["results"]
    approved = api(admin).post(f"/api/v1/hosts/{host['id']}/approve/", {}, format="json")
    assert (approved.status_code, approved.json()["state"]) == (200, "down")
    assert knock.get(f"{JOIN}{REQUEST}/").status_code == 200


def test_a_token_is_good_once_and_for_its_role(knock):
    one = token("walrus")
    assert post(knock, form(token=one)).json()["state"] == "new"
    assert post(knock, form(request="s" * 24, role="walrus", token=one)).json()["state"] == "down"
    assert post(knock, form(request="t" * 24, role="walrus", token=one)).json()["state"] == "new"
    JoinToken.objects.update(used_by="", expires_at=1)
    assert post(knock, form(request="u" * 24, role="walrus", token=one)).json()["state"] == "new"


def test_the_same_request_with_another_key_is_refused(knock):
    post(knock, form())
    assert post(knock, form()).json()["code"] == "forbidden"


@pytest.mark.parametrize("change", [
    {"request": "short"}, {"request": "../" + "x" * 30}, {"request": "r" * 65}, {"request": 5}, {"role": "clc"}, {"role": "king"},
    {"role": "nc"}, {"name": ""}, {"name": "a b"}, {"name": "-a"}, {"name": "a\n"}, {"name": "x" * 64}, {"csr": "x"}, {"csr": "é"},
    {"csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"}, {"csr": "x" * 9000}, {"token": "x"},
    {"token": None}, {"address": "file:///etc/passwd"}, {"address": "http://a b"}, {"state": "up"},
])
def test_what_cannot_be_is_refused_and_leaves_nothing(knock, change):
    answer = post(knock, form(**change))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.content
    assert Host.objects.exclude(role="clc").count() == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 20_000, b'"' + b"x" * 40_000 + b'"'])
def test_a_body_that_is_none_is_refused(knock, body):
    assert post(knock, body).json()["code"] == "invalid"


def test_a_crowd_at_the_door_waits_outside_but_a_token_passes(knock, monkeypatch):
    monkeypatch.setattr(mandates, "WAITING_AT_MOST", 2)
    for n in range(2):
        assert post(knock, form(request=f"{n}" * 24)).status_code == 200
    full = post(knock, form(request="x" * 24))
    assert full.json()["code"] == "quota"
    assert post(knock, form(request="y" * 24, token=token())).json()["state"] == "down"


def test_nobody_fetches_what_is_not_there(knock):
    for wanted in (REQUEST, "short", "x" * 65):
        assert knock.get(f"{JOIN}{wanted}/").json()["code"] == "not_found"


def test_a_host_below_a_cluster_is_not_served_here(world, knock):
    host = world.host("nc", boss="cc-00000000", request=REQUEST, state=HostState.DOWN, boot="")
    assert knock.get(f"{JOIN}{REQUEST}/").json()["code"] == "not_found"
    assert host.certificate


def test_a_removed_host_is_forgotten(knock, admin, api):
    post(knock, form(token=token()))
    host = knock.get(f"{JOIN}{REQUEST}/").json()["host"]
    assert api(admin).delete(f"/api/v1/hosts/{host}/").status_code == 204
    assert knock.get(f"{JOIN}{REQUEST}/").json()["code"] == "not_found"
