"""What cannot be is refused with the field named, and leaves nothing behind."""

import json

import pytest

from luhyadb.models import Account, Instance, Outbox, Task, Upload

HUGE = 10**9 * 2**20


@pytest.fixture
def ready(world, admin):
    world.cluster()
    return world.image(admin)


@pytest.mark.parametrize(("body", "status", "code", "field"), [
    ({}, 422, "invalid", "image"),
    ({"image": "none"}, 404, "not_found", None),
    ({"image": "../tiny"}, 404, "not_found", None),
    ({"image": "tiny:9"}, 409, "state", None),
    ({"image": "tiny\x00"}, 422, "invalid", "image"),
    ({"image": 5}, 422, "invalid", "image"),
    ({"image": ["tiny"]}, 422, "invalid", "image"),
    ({"image": None}, 422, "invalid", "image"),
    ({"name": "../../etc/passwd"}, 422, "invalid", "name"),
    ({"name": "a\nb"}, 422, "invalid", "name"),
    ({"name": "trailing\n"}, 422, "invalid", "name"),
    ({"name": "a\x1b[31m"}, 422, "invalid", "name"),
    ({"name": "\ud800"}, 422, "invalid", "name"),
    ({"name": "<script>"}, 422, "invalid", "name"),
    ({"name": "a" * 64}, 422, "invalid", "name"),
    ({"name": "-a"}, 422, "invalid", "name"),
    ({"cpus": 0}, 422, "invalid", "cpus"),
    ({"cpus": -1}, 422, "invalid", "cpus"),
    ({"cpus": 65}, 422, "invalid", "cpus"),
    ({"cpus": "2"}, 422, "invalid", "cpus"),
    ({"cpus": 1.5}, 422, "invalid", "cpus"),
    ({"cpus": True}, 422, "invalid", "cpus"),
    ({"memory_bytes": 0}, 422, "invalid", "memory_bytes"),
    ({"memory_bytes": -5}, 422, "invalid", "memory_bytes"),
    ({"memory_bytes": HUGE}, 422, "invalid", "memory_bytes"),
    ({"memory_bytes": 10**400}, 422, "invalid", "memory_bytes"),
    ({"memory_bytes": "512M"}, 422, "invalid", "memory_bytes"),
    ({"count": 0}, 422, "invalid", "count"),
    ({"count": 101}, 422, "invalid", "count"),
    ({"kind": "toaster"}, 422, "invalid", "kind"),
    ({"ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, 422, "invalid", "ssh_keys"),
    ({"ssh_keys": ["ssh-ed25519 AAAA\nroot"]}, 422, "invalid", "ssh_keys.0"),
    ({"ssh_keys": "ssh-ed25519 AAAA"}, 422, "invalid", "ssh_keys"),
    ({"ssh_keys": [{}]}, 422, "invalid", "ssh_keys.0"),
    ({"user_data": "a\0b"}, 422, "invalid", "user_data"),
    ({"user_data": "\ud800"}, 422, "invalid", "user_data"),
    ({"user_data": "ä" * 32769}, 422, "invalid", "user_data"),
    ({"user_data": ["a"]}, 422, "invalid", "user_data"),
    ({"user_data": None}, 422, "invalid", "user_data"),
    ({"first_boot_offline": "perhaps"}, 422, "invalid", "first_boot_offline"),
    ({"colour": "red"}, 422, "invalid", "colour"),
    ({"memory": 512}, 422, "invalid", "memory"),
    ({"owner": "root"}, 422, "invalid", "owner"),
])
def test_an_impossible_instance_is_refused(ready, user, api, body, status, code, field):
    asked = {"image": "tiny"} | body if body else body
    answer = api(user).post("/api/v1/instances/", json.dumps(asked), content_type="application/json")
    told = answer.json()
    assert (answer.status_code, told["code"], told.get("field")) == (status, code, field), told
    assert answer["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "what", "why", "hint"} <= set(told)
    assert (Instance.objects.count(), Task.objects.count(), Outbox.objects.count()) == (0, 0, 0)


@pytest.mark.parametrize(("body", "kind", "status"), [
    ("{", "application/json", 400), ("", "application/json", 422), ("[]", "application/json", 422), ("5", "application/json", 422),
    ("null", "application/json", 422), ('{"image": NaN}', "application/json", 400), ("[" * 100_000, "application/json", 400),
    ('{"image": ' + "9" * 5000 + "}", "application/json", 400),
    ('"' + "x" * 2_000_000 + '"', "application/json", 413), ("image=tiny", "application/x-www-form-urlencoded", 415),
    ("<image/>", "text/xml", 415), ("image", "nonsense", 415),
])
def test_a_body_that_is_none_is_refused(ready, user, api, body, kind, status):
    answer = api(user).generic("POST", "/api/v1/instances/", body.encode(), content_type=kind)
    assert (answer.status_code, answer.json()["code"]) == (status, "invalid"), answer.content[:300]


def test_bytes_that_are_no_text_are_refused(ready, user, api):
    answer = api(user).generic("POST", "/api/v1/instances/", b'{"image": "\xff\xfe"}', content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("path", [
    "/api/v1/instances/..%2F..%2Fetc/", "/api/v1/instances/%00/", "/api/v1/instances/a%0Ab/", "/api/v1/instances/" + "x" * 5000 + "/",
    "/api/v1/tasks/tsk-zzzzzzzz/", "/api/v1/tasks/%F0%9F%98%80/", "/api/v1/images/img-00000000/", "/api/v1/images/%FF/versions/",
    "/api/v1/hosts/nc-00000000/", "/api/v1/hosts/'%20or%201=1/", "/api/v1/images/tiny/versions/99999999999999999999/parts/disk/",
    "/api/v1/images/tiny/versions/1/parts/disk/", "/api/v1/nothing/", "/api/v2/instances/", "/api/v1/instances/../hosts",
])
def test_an_address_of_nothing_says_so(ready, admin, api, path):
    answer = api(admin).get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.content[:300]


@pytest.mark.parametrize("query", [
    "limit=0", "limit=1001", "limit=-1", "limit=x", "limit=%00", "limit=1e2", "cursor=x", "cursor=bnVsbA", "cursor=%F0%9F%98%80", "cursor=W10",
    "state=gone", "colour=red", "cursor=W3RydWUsIDFd", "cursor=WzFlOTk5LCAieCJd",
])
def test_a_list_that_is_asked_for_wrongly_is_refused(ready, user, api, query):
    for noun in ("instances", "tasks"):
        answer = api(user).get(f"/api/v1/{noun}/?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.content


@pytest.mark.parametrize(("body", "field"), [
    ({"username": "", "password": "correct horse battery"}, "username"),
    ({"username": "a b", "password": "correct horse battery"}, "username"),
    ({"username": "../a", "password": "correct horse battery"}, "username"),
    ({"username": "eve\n", "password": "correct horse battery"}, "username"),
    ({"username": "eve", "password": "short"}, "password"),
    ({"username": "eve"}, "password"),
    ({"username": "eve", "password": "correct horse battery", "role": "god"}, "role"),
    ({"username": "eve", "password": "correct horse battery", "is_staff": True}, "is_staff"),
])
def test_an_impossible_account_is_refused(admin, api, body, field):
    before = Account.objects.count()
    answer = api(admin).post("/api/v1/users/", body, format="json")
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.content
    assert Account.objects.count() == before


@pytest.mark.parametrize("change", [
    {"name": "../x"}, {"name": "a\n"}, {"parts": []}, {"parts": "disk"}, {"parts": [{"part": "disk"}]}, {"parts": [{"part": "disk", "size_bytes": 0}]},
    {"parts": [{"part": "disk", "size_bytes": 10**30}]}, {"parts": [{"part": "floppy", "size_bytes": 1}]},
    {"parts": [{"part": "initrd", "size_bytes": 1}]}, {"parts": [{"part": "disk", "size_bytes": 1, "format": "vmdk"}]},
    {"parts": [{"part": "disk", "size_bytes": 1}] * 2}, {"parts": [{"part": "disk", "size_bytes": 1, "sha256": "x"}]},
    {"usage": "toaster"}, {"cmdline": "a\nb"}, {"cmdline": "x" * 1025}, {"path": "/etc/passwd"},
])
def test_an_impossible_upload_is_refused(ready, admin, api, change):
    body = {"name": "new", "parts": [{"part": "disk", "size_bytes": 1}]} | change
    answer = api(admin).post("/api/v1/uploads/", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.content
    assert Upload.objects.count() == 0


@pytest.mark.parametrize("grace", [-1, 601, "1", 1.5, None, True])
def test_a_grace_that_cannot_be_is_refused(ready, world, user, api, grace):
    row = world.instance(user, ready, state="running")
    answer = api(user).post(f"/api/v1/instances/{row.pk}/stop/", {"grace_s": grace}, format="json")
    assert (answer.status_code, answer.json()["field"]) == (422, "grace_s")


def test_a_method_that_is_not_there_names_those_that_are(user, api):
    answer = api(user).patch("/api/v1/instances/", {}, format="json")
    assert (answer.status_code, answer.json()["code"], answer["Allow"]) == (405, "unsupported", "GET, POST, HEAD, OPTIONS")


def test_an_address_without_its_last_slash_is_the_same(ready, user, api):
    answer = api(user).post("/api/v1/instances", {"image": "tiny"}, format="json")
    assert answer.status_code == 202
