"""Who may do what: nobody without signing in, users only with what is theirs, administrators everything."""

import re

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from luhyadb.models import Instance, Task
from tests.support.clc_world import PASSWORD

OPEN = {
    "api/v1/login/", "api/v1/account-requests/ask/", "api/v1/account-requests/state/", "api/schema/", "api/docs/", "healthz", "readyz", "metrics",
}
FILLED = {"version": "1", "part": "disk", "host": "nc-00000000", "task": "tsk-00000000", "instance": "ins-00000000"}
_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")


def routes(patterns, prefix=""):
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def api_routes():
    return [r for r in routes(get_resolver().url_patterns) if r.startswith(("api/", "clc/api/", "healthz", "readyz", "metrics"))]


def test_every_address_asks_who_comes(world, api):
    known = api_routes()
    assert len(known) > 30
    for route in known:
        if route in OPEN:
            continue
        path = "/" + _ARGUMENT.sub(lambda m: FILLED.get(m[1], "x"), route)
        for method in ("get", "post", "put", "delete"):
            answer = getattr(api(None), method)(path, {}, format="json")
            assert answer.status_code in (401, 403), (method, path, answer.status_code)
            assert answer.json()["code"] in ("unauthenticated", "forbidden")
            assert answer["WWW-Authenticate"] == "Bearer"


def test_the_open_addresses_are_those_we_know():
    assert set(api_routes()) >= OPEN


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer x", "Bearer é", "Bearer a b", "Basic x", "bearer " + "f" * 64, "Token " + "f" * 64])
def test_a_wrong_token_is_refused(world, api, header):
    answer = api(None).get("/api/v1/status/", HTTP_AUTHORIZATION=header)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


@pytest.fixture
def theirs(world, admin, other):
    world.cluster()
    return world.instance(other, world.image(admin), "theirs")


def test_what_belongs_to_others_is_not_there(theirs, user, api):
    client = api(user)
    own = f"/api/v1/instances/{theirs.pk}/"
    task = f"/api/v1/tasks/{theirs.task}/"
    for method, path in (
        ("get", own), ("delete", own), ("post", f"{own}stop/"), ("post", f"{own}start/"), ("post", f"{own}reboot/"), ("post", f"{own}restore/"),
        ("get", f"{own}why/"),
        ("post", f"{own}screen/"), ("post", f"{own}serial/"), ("post", f"{own}tunnel/"),
        ("get", "/api/v1/instances/theirs/"), ("get", task), ("post", f"{task}cancel/"), ("get", f"{task}trace/"),
    ):
        answer = getattr(client, method)(path)
        assert answer.status_code == 404, (method, path, answer.content)
        assert answer.json()["code"] == "not_found"
    for noun in ("instances", "tasks"):
        assert client.get(f"/api/v1/{noun}/").json()["results"] == []
    assert Instance.objects.get().state == "queued"
    assert Task.objects.get().state == "queued"


def test_an_administrator_sees_all(theirs, admin, api):
    assert [i["owner"] for i in api(admin).get("/api/v1/instances/").json()["results"]] == ["bob"]


def test_what_only_administrators_do_is_forbidden_to_users(world, admin, user, api):
    walrus, *_ = world.cluster()
    world.image(admin)
    client = api(user)
    for method, path, body in (
        ("get", "/api/v1/hosts/", None), ("get", f"/api/v1/hosts/{walrus.pk}/", None), ("delete", f"/api/v1/hosts/{walrus.pk}/", None),
        *(("post", f"/api/v1/hosts/{walrus.pk}/{v}/", {}) for v in ("approve", "refresh", "drain", "resume")),
        ("post", "/api/v1/hosts/tokens/", {"role": "nc"}), ("get", "/api/v1/users/", None),
        ("post", "/api/v1/users/", {"username": "eve", "password": "correct horse battery", "role": "superAdm"}),
        ("post", "/api/v1/images/import/", {"name": "mine", "url": "https://example.org/f"}),
        ("post", "/api/v1/uploads/", {"name": "mine", "parts": [{"part": "disk", "size_bytes": 1}]}),
        ("delete", "/api/v1/images/tiny/", None),
    ):
        answer = getattr(client, method)(path, body, format="json")
        assert answer.status_code == 403, (method, path, answer.content)
        assert answer.json()["code"] == "forbidden"
    assert client.get("/api/v1/status/").json()["hosts"] == []


def test_a_session_needs_its_csrf_token(world, user):
    from rest_framework.test import APIClient

    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    answer = client.post("/api/v1/instances/", {"image": "x"}, format="json")
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert client.get("/api/v1/users/me/").json()["username"] == "ada"


def test_a_new_password_ends_every_token(world, user, api):
    client, password = api(user), "another horse battery"
    assert client.post("/api/v1/users/me/password/", {"password": "short", "current_password": PASSWORD}, format="json").json()["field"] == "password"
    wrong = client.post("/api/v1/users/me/password/", {"password": password, "current_password": "guess"}, format="json")
    assert (wrong.status_code, wrong.json()["field"]) == (422, "current_password")
    assert client.post("/api/v1/users/me/password/", {"password": password, "current_password": PASSWORD}, format="json").status_code == 204
    assert client.get("/api/v1/users/me/").status_code == 401
    token = api(None).post("/api/v1/login/", {"username": "ada", "password": password}, format="json").json()["token"]
    assert api(None).get("/api/v1/users/me/", HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 200


def test_an_account_that_was_closed_is_out(world, user, api):
    client = api(user)
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    assert client.get("/api/v1/users/me/").status_code == 401


def test_guessing_a_password_is_slow(world, user, api):
    ask = lambda word: api(None).post("/api/v1/login/", {"username": "ada", "password": word}, format="json", REMOTE_ADDR="192.0.2.9")  # noqa: E731
    assert [ask("wrong").status_code for _ in range(10)] == [401] * 10
    late = ask("correct horse battery")
    assert (late.status_code, late.json()["code"], late["Retry-After"]) == (429, "locked_out", "30")
