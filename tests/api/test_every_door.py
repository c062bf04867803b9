"""Every door of the API by everybody: what one has, what another of the class has, and what another school has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from drf_spectacular.generators import SchemaGenerator

from clc.services import access_roles, builds
from clc.web.api import store
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from tests.support import store_door
from tests.support.clc_world import PASSWORD
from tests.support.school import HERE, MARK, RULE, School

API = "/api/v1/"
THINGS = (
    "instance", "image", "address", "forward", "user", "group_path", "task", "token", "session", "share", "grant", "upload", "workspace", "security_group",
)
ASKERS = ("nobody", "pupil", "maker", "teacher", "root")
DOORS = """
GET     access-roles/                                       signed-in
POST    access-roles/                                       cloud
GET     access-roles/{role}/                                signed-in
PUT     access-roles/{role}/                                cloud
DELETE  access-roles/{role}/                                cloud
GET     audit/                                              signed-in
GET     audit/export/                                       cloud
GET     audit/head/                                         cloud
POST    builds/                                             cloud
PUT     builds/{build}/                                     cloud
POST    builds/{build}/end/                                 cloud
GET     elastic-addresses/                                  signed-in
POST    elastic-addresses/                                  signed-in           503
GET     elastic-addresses/{address}/                        own
DELETE  elastic-addresses/{address}/                        cloud               409
POST    elastic-addresses/{address}/associate/              own
POST    elastic-addresses/{address}/dissociate/             own
POST    elastic-addresses/{address}/release/                own
POST    elastic-addresses/ranges/                           cloud
GET     events                                              signed-in           503
GET     grants/                                             signed-in
POST    grants/                                             give
DELETE  grants/{grant}/                                     take
GET     groups/                                             signed-in
POST    groups/                                             office
GET     groups/{group_path}/                                group
PATCH   groups/{group_path}/                                group-move
DELETE  groups/{group_path}/                                group-write         409
GET     hosts/                                              cloud
GET     hosts/{host}/                                       cloud
DELETE  hosts/{host}/                                       cloud               409
POST    hosts/{newcomer}/approve/                           cloud               422
POST    hosts/{host}/drain/                                 cloud
POST    hosts/{host}/refresh/                               cloud
POST    hosts/{host}/resume/                                cloud               409
POST    hosts/tokens/                                       cloud
GET     images/                                             signed-in
GET     images/{image}/                                     image-read
PATCH   images/{image}/                                     image-write
DELETE  images/{image}/                                     image-delete        409
GET     images/{image}/diff/                                image-read
POST    images/{image}/diff/                                cloud
GET     images/{image}/lineage/                             image-read
POST    images/{image}/prefetch/                            cloud
POST    images/{image}/renew/                               image-read
GET     images/{image}/retention/                           image-write
PUT     images/{image}/retention/                           image-write
GET     images/{image}/uses/                                image-write
GET     images/{image}/versions/                            image-read
DELETE  images/{image}/versions/{version}/                  image-delete        409
GET     images/{image}/versions/{version}/parts/{part}/     image-execute       404
PUT     images/{image}/versions/{version}/pin/              image-write
DELETE  images/{image}/versions/{version}/pin/              image-write
POST    images/{image}/versions/{version}/rollback/         image-write
POST    images/import/                                      make-image
GET     instances/                                          signed-in
POST    instances/                                          run
GET     instances/{instance}/                               instance-read
DELETE  instances/{instance}/                               instance-delete
POST    instances/{instance}/connect/                       instance-execute    409
GET     instances/{instance}/forwards/                      instance-read
POST    instances/{instance}/forwards/                      instance-write
GET     instances/{instance}/forwards/{forward}/            instance-read
DELETE  instances/{instance}/forwards/{forward}/            instance-write
PUT     instances/{instance}/groups/                        instance-write
GET     instances/{instance}/log/                           signed-in           503
POST    instances/{instance}/network-check/                 instance-execute    409
POST    instances/{instance}/reboot/                        instance-execute
GET     instances/{instance}/remote-desktop/                instance-execute    409
POST    instances/{instance}/restore/                       instance-write      409
GET     instances/{instance}/rules/                         instance-read
PUT     instances/{instance}/rules/                         instance-write
POST    instances/{instance}/screen/                        instance-execute    409
POST    instances/{instance}/serial/                        instance-execute    409
POST    instances/{instance}/start/                         instance-execute    409
POST    instances/{instance}/stop/                          instance-execute
POST    instances/{instance}/tunnel/                        instance-execute    409
GET     instances/{instance}/why/                           instance-read
GET     letters/                                            cloud
GET     letters/{letter}/                                   cloud
DELETE  letters/{letter}/                                   cloud
POST    letters/{letter}/resend/                            cloud
POST    login/                                              everybody
GET     networks/                                           signed-in
POST    networks/                                           cloud
GET     networks/{network}/                                 signed-in
PATCH   networks/{network}/                                 cloud
DELETE  networks/{network}/                                 cloud
GET     networks/{network}/leases/                          cloud               503
GET     networks/{network}/reservations/                    cloud
POST    networks/{network}/reservations/                    cloud
DELETE  networks/{network}/reservations/{reserved}/         cloud
POST    networks/{network}/reservations/import/             cloud
GET     networks/{network}/usage/                           cloud               503
GET     permissions/who/                                    instance-write
GET     permissions/why/                                    instance-read
GET     quotas/                                             signed-in
PUT     quotas/                                             limit
GET     security-groups/                                    signed-in
POST    security-groups/                                    signed-in
GET     security-groups/{security_group}/                   own
DELETE  security-groups/{security_group}/                   own
POST    security-groups/{security_group}/rules/             own
PUT     security-groups/{security_group}/rules/             own
POST    security-groups/{security_group}/rules/remove/      own
GET     sessions/                                           signed-in
DELETE  sessions/{session}/                                 own
POST    sessions/end-others/                                signed-in
GET     shares/                                             instance-write
POST    shares/                                             instance-write
DELETE  shares/{share}/                                     share
GET     status/                                             signed-in
GET     tasks/                                              signed-in
GET     tasks/{task}/                                       instance-read
POST    tasks/{task}/cancel/                                instance-execute    409
GET     tasks/{task}/trace/                                 instance-read
GET     tokens/                                             signed-in
POST    tokens/                                             signed-in
DELETE  tokens/{token}/                                     own
POST    uploads/                                            make-image
GET     uploads/{upload}/                                   own
DELETE  uploads/{upload}/                                   own
PUT     uploads/{upload}/{part}/                            own                 404 409 503
POST    uploads/{upload}/complete/                          own                 409 503
GET     users/                                              people
POST    users/                                              office
GET     users/{user}/                                       account-read
DELETE  users/{user}/                                       account-delete      409
POST    users/{user}/deactivate/                            account-write
POST    users/{user}/password/                              account-write
PUT     users/{user}/place/                                 account-place       409
POST    users/{user}/reactivate/                            account-place       409
DELETE  users/{user}/second-step/                           account-write       409
GET     users/{user}/sessions/                              account-read
GET     users/{user}/tokens/                                account-read
POST    users/{user}/unlock/                                account-place
POST    users/import/                                       lines
GET     users/me/                                           signed-in
POST    users/me/password/                                  signed-in
GET     users/me/second-step/                               signed-in
POST    users/me/second-step/                               signed-in
POST    users/me/second-step/confirm/                       signed-in           409
POST    users/me/second-step/recovery-codes/                signed-in           409
POST    users/me/second-step/remove/                        signed-in           409
POST    users/numbered/                                     numbered
GET     workspaces/                                         signed-in
POST    workspaces/                                         image-write
GET     workspaces/{workspace}/                             own
DELETE  workspaces/{workspace}/                             own
POST    workspaces/{workspace}/start/                       own                 409
POST    workspaces/{workspace}/stop/                        own                 409
POST    workspaces/{workspace}/submit/                      own                 409
"""
YES, FORBIDDEN, HIDDEN, STRANGER, WRONG = "yes", 403, 404, 401, 422
AGAIN = {"current_password": PASSWORD}
BODIES: dict[str, dict[str, Any]] = {
    "POST access-roles/": {"name": "watcher", "permissions": {"image": ["read"]}},
    "PUT access-roles/{role}/": {"permissions": {"image": ["read"]}},
    "POST builds/": {"name": "built"},
    "PUT builds/{build}/": {"phase": "packages", "percent": 4},
    "POST elastic-addresses/{address}/associate/": {"instance": "{instance}"},
    "POST elastic-addresses/ranges/": {"ranges": ["198.51.100.1"]},
    "POST grants/": {"user": "{user}", "role": "anonymous", "group": HERE},
    "POST groups/": {"path": "{group_path}.lab"},
    "PATCH groups/{group_path}/": {"path": "{group_path}b"},
    "POST hosts/tokens/": {"role": "nc"},
    "PATCH images/{image}/": {"description": "new"},
    "POST images/{image}/diff/": {"one": 1, "other": 2},
    "POST images/{image}/prefetch/": {"hosts": ["{cluster}"]},
    "POST images/{image}/renew/": {},
    "PUT images/{image}/retention/": {"keep": 2},
    "POST images/import/": {"name": "brought", "url": "http://192.0.2.1/a.img"},
    "POST instances/": {"image": "{image}", "name": "fresh"},
    "POST instances/{instance}/forwards/": {"guest_port": 80},
    "PUT instances/{instance}/groups/": {"groups": []},
    "POST instances/{instance}/restore/": {},
    "PUT instances/{instance}/rules/": {"rules": [RULE]},
    "POST instances/{instance}/tunnel/": {"port": 22},
    "POST login/": {"username": "mate", "password": PASSWORD},
    "POST networks/": {"name": "class-8", "subnet": "10.41.0.0/24"},
    "PATCH networks/{network}/": {"ranges": ["10.40.0.10-10.40.0.20"]},
    "POST networks/{network}/reservations/": {"address": "10.40.0.11"},
    "POST networks/{network}/reservations/import/": {"ethers": "00:16:3e:00:00:01 10.40.0.3\n"},
    "PUT quotas/": {"user": "{user}", "counted": "instances", "limit": 9},
    "POST security-groups/": {"name": "mine"},
    "POST security-groups/{security_group}/rules/": RULE | {"ports": "80"},
    "PUT security-groups/{security_group}/rules/": {"rules": [RULE]},
    "POST security-groups/{security_group}/rules/remove/": RULE,
    "POST shares/": {"kind": "instance", "subject": "{instance}", "verbs": ["read"], "group": HERE},
    "POST tokens/": {"name": "script"},
    "POST uploads/": {"name": "sent", "parts": [{"part": "kernel", "size_bytes": 1}]},
    "POST users/": {"username": "new", "password": "a quiet green door", "group": "{group_path}"},
    "POST users/{user}/password/": {"password": "a quiet green door"},
    "PUT users/{user}/place/": {"role": "user"},
    "POST users/import/": {"table": "username,group\nnew,{group_path}\n"},
    "POST users/me/password/": AGAIN | {"password": "a quiet green door"},
    "POST users/me/second-step/": AGAIN,
    "POST users/me/second-step/confirm/": {"code": "123456"},
    "POST users/me/second-step/recovery-codes/": AGAIN,
    "POST users/me/second-step/remove/": AGAIN,
    "POST users/numbered/": {"prefix": "new", "first": 1, "last": 2, "group": "{group_path}"},
    "POST workspaces/": {"image": "{image}"},
}
QUERIES = {
    "GET permissions/who/": "?kind=instance&subject={instance}&verb=read",
    "GET permissions/why/": "?kind=instance&subject={instance}&verb=read",
    "GET shares/": "?kind=instance&subject={instance}",
    "PUT uploads/{upload}/{part}/": "?offset=0",
}


@dataclass(frozen=True)
class Door:
    method: str
    path: str
    rule: str
    also: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def text(self) -> str:
        """All in which a thing can be named."""
        return self.path + QUERIES.get(self.name, "") + json.dumps(BODIES.get(self.name, {}))

    @property
    def is_about_things(self) -> bool:
        return any(f"{{{thing}}}" in self.text for thing in THINGS)


def _doors() -> list[Door]:
    lines = [line.split() for line in DOORS.strip().splitlines()]
    return [Door(method, path, rule, tuple(map(int, also))) for method, path, rule, *also in lines]


def expected(rule: str, asker: str, relation: str) -> str | int:  # noqa: C901, PLR0911, PLR0912 - the whole rule once more, in its plainest words
    """What is answered, told from what docs/permissions.md says, and from nothing of the code."""
    if rule == "everybody":
        return YES
    if asker == "nobody":
        return STRANGER
    kind, _, verb = rule.partition("-")
    manages = asker in ("teacher", "root")
    if rule in ("account-write", "account-delete") and manages and relation == "own":
        return FORBIDDEN
    if asker == "root" or rule == "signed-in":
        return YES
    if rule == "cloud" or (kind in ("account", "people", "limit", "give", "lines", "numbered") and not manages):
        return FORBIDDEN
    if kind == "instance":
        return YES if relation == "own" or (relation == "near" and manages) else HIDDEN
    if rule == "lines":
        return YES if relation != "far" else WRONG
    if rule == "own" or relation == "far":
        return YES if relation == "own" else HIDDEN
    if kind == "image":
        held = {"pupil": ("read", "execute"), "maker": ("read", "execute", "write"), "teacher": ("read", "execute", "write", "delete")}[asker]
        return YES if relation == "own" or verb in held else FORBIDDEN
    if rule in ("make-image", "office", "group-write", "numbered"):
        return YES if manages else FORBIDDEN
    if rule == "limit":
        return YES if relation == "near" else FORBIDDEN
    if rule in ("share", "take"):
        return YES if manages or (relation, rule) == ("own", "share") else FORBIDDEN if relation == "own" else HIDDEN
    return {"group-move": FORBIDDEN}.get(rule, YES)


def filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)}", lambda found: words[found[1]], text)


def asked(client: Any, door: Door, words: dict[str, str]) -> Any:
    path = API + filled(door.path + QUERIES.get(door.name, ""), words)
    if door.name == "PUT uploads/{upload}/{part}/":
        return client.put(path, b"x", content_type="application/octet-stream")
    body = json.loads(re.sub(r"\{(\w+)}", lambda found: words.get(found[1], found[0]), json.dumps(BODIES.get(door.name, {}))))
    return getattr(client, door.method.lower())(path, body if door.method != "GET" else None, format="json" if door.method != "GET" else None)


def told(answer: Any) -> str:
    """All that an answer says, whatever its form."""
    if answer.status_code == 204:
        return ""
    return b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()


def without(text: str, words: dict[str, str]) -> str:
    """A refusal without its own number, and without what was asked for."""
    text = json.dumps({**json.loads(text), "request": ""})
    for word in sorted(words.values(), key=len, reverse=True):
        text = text.replace(word, "*") if len(word) > 4 else text
    return text


def made_up(words: dict[str, str]) -> dict[str, str]:
    """Names of the same form that nobody has."""
    return words | {key: f"{value[:4]}{'e' * 8}" if re.fullmatch(r"[a-z]{3}-[0-9a-f]{8}", value) else f"{value}x" if len(value) > 4 else value
                    for key, value in words.items() if key in THINGS}


@pytest.fixture
def school(world, admin, tmp_path, monkeypatch):
    way, _ = store_door.behind_api(tmp_path)
    monkeypatch.setattr(store, "transport", [lambda: way])
    before = clock.use(ManualClock(clock.now()))
    yield School(world, admin)
    clock.use(before)


@pytest.mark.parametrize("asker", ASKERS)
def test_every_door_is_open_to_whom_it_should_be(school, api, asker):
    """By the plain words of :func:`expected`; and no answer says a word of the other school that was not asked for by its name."""
    client = api(None if asker == "nobody" else school.people[asker])
    access_roles.create(school.root, "watchers", {"image": ["read"]})
    common = school.cloud() | {"role": "watchers", "cluster": school.cluster.pk, "build": builds.begin(school.root, "being-built").pk}
    wrong = []
    for door in _doors():
        for relation, whose in {"own": asker, "near": "mate", "far": "far"}.items() if door.is_about_things else [("own", "mate")]:
            if whose not in school.things:
                continue
            words = common | school.things[whose].words
            status, said = answered(client, door, words)
            want = expected(door.rule, asker, relation)
            if status not in ({200, 201, 202, 204, *door.also} if want == YES else {want}):
                wrong.append(f"{door.name} {relation}: {status} for {want}: {said[:200]}")
            elif asker != "root" and MARK in (without(said, words) if status >= 400 else said):
                wrong.append(f"{door.name} {relation}: tells of the other school: {said[:200]}")
            elif relation == "far" and want in (HIDDEN, FORBIDDEN, WRONG):
                nothing = made_up(words)
                other = answered(client, door, nothing)[1]
                if without(said, words) != without(other, nothing):
                    wrong.append(f"{door.name}: one learns that it is there: {said}, {other}")
    assert not wrong, "\n".join(wrong)


def answered(client: Any, door: Door, words: dict[str, str]) -> tuple[int, str]:
    """What a door says; what it did is undone."""
    with transaction.atomic():
        answer = asked(client, door, words)
        said = told(answer)
        transaction.set_rollback(True)
    return answer.status_code, said


def test_no_door_is_forgotten():
    """Each operation that is described has its line, and each line is described."""
    described = {f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path.removeprefix('/api/v1/'))}"
                 for path, operations in SchemaGenerator().get_schema(request=None, public=True)["paths"].items() for method in operations}
    assert {re.sub(r"{[^}]*}", "{}", door.name) for door in _doors()} == described
