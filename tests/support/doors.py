"""Every door of the API: its address, the rule that says to whom it is open, and a body that it takes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.support.clc_world import PASSWORD
from tests.support.school import HERE, RULE

API = "/api/v1/"
THINGS = (
    "instance", "image", "address", "forward", "user", "group_path", "task", "token", "session", "share", "grant", "upload", "workspace", "security_group",
    "asked", "robot", "passkey",
)
DOORS = """
GET     access-roles/                                       signed-in
POST    access-roles/                                       cloud
GET     access-roles/{role}/                                signed-in
PUT     access-roles/{role}/                                cloud
DELETE  access-roles/{role}/                                cloud
GET     account-requests/                                   signed-in
POST    account-requests/ask/                               everybody           404
POST    account-requests/state/                             everybody           404
POST    account-requests/{asked}/approve/                   asked
POST    account-requests/{asked}/refuse/                    asked
GET     audit/                                              signed-in
GET     audit/export/                                       cloud
GET     audit/head/                                         cloud
GET     budgets/                                            signed-in
PUT     budgets/                                            limit
POST    builds/                                             cloud
PUT     builds/{build}/                                     cloud
POST    builds/{build}/end/                                 cloud
GET     directories/                                        cloud
POST    directories/                                        cloud
GET     directories/{directory}/                            cloud
PATCH   directories/{directory}/                            cloud
POST    directories/{directory}/check/                      cloud
POST    directories/{directory}/import/                     cloud
POST    directories/{directory}/mappings/                   cloud
DELETE  directories/{directory}/mappings/{mapping}/         cloud
POST    directories/{directory}/remove/                     cloud
POST    directories/{directory}/test/                       cloud
GET     elastic-addresses/                                  signed-in
POST    elastic-addresses/                                  signed-in           503
POST    elastic-addresses/ranges/                           cloud
GET     elastic-addresses/{address}/                        own
DELETE  elastic-addresses/{address}/                        cloud               409
POST    elastic-addresses/{address}/associate/              own
POST    elastic-addresses/{address}/dissociate/             own
POST    elastic-addresses/{address}/release/                own
GET     events                                              signed-in           503
GET     expiry/held/                                        cloud
POST    expiry/let-go/                                      cloud
GET     grants/                                             signed-in
POST    grants/                                             give
DELETE  grants/{grant}/                                     take
GET     groups/                                             signed-in
POST    groups/                                             office
GET     groups/{group_path}/                                group
PATCH   groups/{group_path}/                                group-move
DELETE  groups/{group_path}/                                group-write         409
GET     groups/{group_path}/expiry-rule/                    group
PUT     groups/{group_path}/expiry-rule/                    group-move
PUT     groups/{group_path}/expiry/                         group-write
PUT     groups/{group_path}/requests/                       cloud
GET     hosts/                                              hosts
POST    hosts/tokens/                                       cloud
GET     hosts/{host}/                                       host
PATCH   hosts/{host}/                                       host
DELETE  hosts/{host}/                                       host                409
POST    hosts/{host}/drain/                                 host
POST    hosts/{host}/lost/                                  host                409
POST    hosts/{host}/refresh/                               host
POST    hosts/{host}/resume/                                host                409
POST    hosts/{newcomer}/approve/                           host                422
GET     images/                                             signed-in
POST    images/import/                                      make-image
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
GET     instances/                                          signed-in
POST    instances/                                          run
GET     instances/{instance}/                               instance-read
DELETE  instances/{instance}/                               instance-delete
POST    instances/{instance}/connect/                       instance-execute    409
PUT     instances/{instance}/expiry/                        instance-write
GET     instances/{instance}/forwards/                      instance-read
POST    instances/{instance}/forwards/                      instance-write
GET     instances/{instance}/forwards/{forward}/            instance-read
DELETE  instances/{instance}/forwards/{forward}/            instance-write
PUT     instances/{instance}/groups/                        instance-write
GET     instances/{instance}/log/                           instance-read       503
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
POST    networks/{network}/reservations/import/             cloud
DELETE  networks/{network}/reservations/{reserved}/         cloud
GET     networks/{network}/usage/                           cloud               503
GET     permissions/who/                                    instance-write
GET     permissions/why/                                    instance-read
GET     quotas/                                             signed-in
PUT     quotas/                                             limit
GET     reports/addresses/                                  signed-in
GET     reports/capacity/                                   signed-in
GET     reports/images/                                     signed-in
GET     reports/instances/                                  signed-in
GET     security-groups/                                    signed-in
POST    security-groups/                                    signed-in
GET     security-groups/{security_group}/                   own
DELETE  security-groups/{security_group}/                   own
POST    security-groups/{security_group}/rules/             own
PUT     security-groups/{security_group}/rules/             own
POST    security-groups/{security_group}/rules/remove/      own
GET     sessions/                                           signed-in
POST    sessions/end-others/                                signed-in
DELETE  sessions/{session}/                                 own
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
POST    uploads/{upload}/complete/                          own                 409 503
PUT     uploads/{upload}/{part}/                            own                 404 409 503
GET     users/                                              people
POST    users/                                              office
POST    users/import/                                       lines
GET     users/me/                                           signed-in
GET     users/me/passkeys/                                  signed-in
PATCH   users/me/passkeys/{passkey}/                        mine
POST    users/me/passkeys/{passkey}/remove/                 mine
POST    users/me/password/                                  signed-in
PATCH   users/me/profile/                                   signed-in
GET     users/me/second-step/                               signed-in
POST    users/me/second-step/                               signed-in
POST    users/me/second-step/confirm/                       signed-in           409
POST    users/me/second-step/recovery-codes/                signed-in           409
POST    users/me/second-step/remove/                        signed-in           409
POST    users/numbered/                                     numbered
POST    users/service/                                      office
POST    users/{robot}/tokens/                               robot
GET     users/{user}/                                       account-read
DELETE  users/{user}/                                       account-delete      409
POST    users/{user}/deactivate/                            account-write
GET     users/{user}/departure/                             account-place
POST    users/{user}/departure/                             account-delete
DELETE  users/{user}/departure/                             account-place       409
DELETE  users/{user}/passkeys/                              account-write
POST    users/{user}/password/                              account-write
PUT     users/{user}/place/                                 account-place       409
POST    users/{user}/reactivate/                            account-place       409
DELETE  users/{user}/second-step/                           account-write       409
GET     users/{user}/sessions/                              account-read
GET     users/{user}/tokens/                                account-read
POST    users/{user}/unlock/                                account-place
GET     workspaces/                                         signed-in
POST    workspaces/                                         image-write
GET     workspaces/{workspace}/                             own
DELETE  workspaces/{workspace}/                             own
POST    workspaces/{workspace}/start/                       own                 409
POST    workspaces/{workspace}/stop/                        own                 409
POST    workspaces/{workspace}/submit/                      own                 409
"""
AGAIN = {"current_password": PASSWORD}
BODIES: dict[str, dict[str, Any]] = {
    "POST access-roles/": {"name": "watcher", "permissions": {"image": ["read"]}},
    "PUT access-roles/{role}/": {"permissions": {"image": ["read"]}},
    "POST account-requests/{asked}/refuse/": {"why": "Nobody knows them."},
    "POST account-requests/ask/": {"username": "newcomer", "password": "a quiet green door", "group": HERE},
    "POST account-requests/state/": {"code": "nonsense"},
    "PUT budgets/": {"user": "{user}", "counted": "hours", "hours": 90, "until": "2100-01-01"},
    "PUT groups/{group_path}/expiry/": {"expires": "7d"},
    "PUT groups/{group_path}/expiry-rule/": {"default": "7d"},
    "PUT groups/{group_path}/requests/": {"on": True},
    "PUT instances/{instance}/expiry/": {"expires": "7d"},
    "POST users/{user}/departure/": {"with_everything": True},
    "POST users/{robot}/tokens/": {"name": "script"},
    "PATCH users/me/passkeys/{passkey}/": {"name": "phone"},
    "POST users/me/passkeys/{passkey}/remove/": AGAIN,
    "PATCH users/me/profile/": {"display_name": "Ada"},
    "POST users/service/": {"username": "robot", "group": "{group_path}"},
    "POST builds/": {"name": "built"},
    "PUT builds/{build}/": {"phase": "packages", "percent": 4},
    "POST directories/": {"name": "other", "settings": {"uri": "ldaps://ldap.test", "base": "dc=test"}},
    "PATCH directories/{directory}/": {"enabled": False},
    "POST directories/{directory}/mappings/": {"value": "cn=teachers", "group": HERE},
    "POST elastic-addresses/{address}/associate/": {"instance": "{instance}"},
    "POST elastic-addresses/ranges/": {"ranges": ["198.51.100.1"]},
    "POST grants/": {"user": "{user}", "role": "anonymous", "group": HERE},
    "POST groups/": {"path": "{group_path}.lab"},
    "PATCH groups/{group_path}/": {"path": "{group_path}b"},
    "POST hosts/tokens/": {"role": "nc"},
    "PATCH hosts/{host}/": {"group": HERE},
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
    """One; ``also`` are statuses that are as good as success: it was open, and something else stood in the way."""

    method: str
    path: str
    rule: str
    also: tuple[int, ...]

    @property
    def name(self) -> str:
        """Method and address."""
        return f"{self.method} {self.path}"

    @property
    def text(self) -> str:
        """All in which a thing can be named."""
        return self.path + QUERIES.get(self.name, "") + json.dumps(BODIES.get(self.name, {}))

    @property
    def is_about_things(self) -> bool:
        """Whether what it is about is somebody's."""
        return any(f"{{{thing}}}" in self.text for thing in THINGS)


def doors() -> list[Door]:
    """All of them."""
    lines = [line.split() for line in DOORS.strip().splitlines()]
    return [Door(method, path, rule, tuple(map(int, also))) for method, path, rule, *also in lines]


def filled(text: str, words: dict[str, str]) -> str:
    """A text with the words in its braces."""
    return re.sub(r"\{(\w+)}", lambda found: words[found[1]], text)


def asked(client: Any, door: Door, words: dict[str, str], **more: Any) -> Any:
    """What a door answers; ``more`` are fields beside those it takes."""
    path = API + filled(door.path + QUERIES.get(door.name, ""), words)
    if door.name == "PUT uploads/{upload}/{part}/":
        return client.put(path, b"x", content_type="application/octet-stream")
    body = json.loads(re.sub(r"\{(\w+)}", lambda found: words.get(found[1], found[0]), json.dumps(BODIES.get(door.name, {})))) | more
    return getattr(client, door.method.lower())(path, body if door.method != "GET" else None, format="json" if door.method != "GET" else None)
