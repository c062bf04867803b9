"""Sample contexts of every console page, and a stand-in for the address table: what a page may rely on."""

from __future__ import annotations

from typing import Any

import access_samples
import audit_samples
import directory_samples
import limit_samples
import people_samples
import pool_samples
import right_samples
import sign_in_samples
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.i18n import set_language

from luhyaapi import clock
from luhyaapi.contracts.vocabulary import (
    Accelerator,
    Architecture,
    Health,
    HostState,
    ImageState,
    InstanceState,
    Role,
    TaskState,
    Usage,
)
from luhyaapi.errors import CODES

GIB = 1024**3
MIB = 1024**2
BASE = 1_800_000_000.0


def _nothing(request: HttpRequest, **_: Any) -> HttpResponse:
    return HttpResponse("")


_PATHS = {
    "overview": "",
    "login": "login/",
    "logout": "logout/",
    "instances": "instances/",
    "instance_run": "instances/run/",
    "instance_rows": "instances/rows/",
    "instance": "instances/<str:id>/",
    "instance_row": "instances/<str:id>/row/",
    "instance_action": "instances/<str:id>/<str:action>/",
    "instance_screen": "screens/<str:id>/",
    "instance_serial": "serials/<str:id>/",
    "forward_add": "instances/<str:id>/access/forward/",
    "forward_delete": "instances/<str:id>/access/close/",
    "instance_rules": "instances/<str:id>/access/rules/",
    "instance_address": "instances/<str:id>/access/address/",
    "security_groups": "security-groups/",
    "security_group_add": "security-groups/add/",
    "security_group": "security-groups/<str:id>/",
    "security_group_rules": "security-groups/<str:id>/rules/",
    "security_group_delete": "security-groups/<str:id>/delete/",
    "addresses": "addresses/",
    "address_allocate": "addresses/allocate/",
    "address_add": "addresses/add/",
    "address_lead": "addresses/<str:id>/lead/",
    "address_action": "addresses/<str:id>/<str:verb>/",
    "instance_network": "networks-of/<str:id>/",
    "networks": "networks/",
    "network_add": "networks/add/",
    "network": "networks/<str:id>/",
    "network_delete": "networks/<str:id>/delete/",
    "network_ranges": "networks/<str:id>/ranges/",
    "network_ports": "networks/<str:id>/ports/",
    "network_addresses": "networks/<str:id>/addresses/",
    "network_reservations": "networks/<str:id>/reservations/",
    "network_reserve": "networks/<str:id>/reservations/add/",
    "network_ethers": "networks/<str:id>/reservations/import/",
    "network_unreserve": "networks/<str:id>/reservations/remove/",
    "images": "images/",
    "image_upload": "images/upload/",
    "image_import": "images/import/",
    "image": "images/<str:id>/",
    "image_delete": "images/<str:id>/delete/",
    "image_prefetch": "images/<str:id>/prefetch/",
    "image_renew": "images/<str:id>/renew/",
    "image_change": "images/<str:id>/change/",
    "image_diff": "images/<str:id>/diff/",
    "image_retention": "images/<str:id>/retention/",
    "tasks": "tasks/",
    "task": "tasks/<str:id>/",
    "task_cancel": "tasks/<str:id>/cancel/",
    "task_row": "tasks/<str:id>/row/",
    "task_steps": "tasks/<str:id>/steps/",
    "hosts": "hosts/",
    "host_token": "hosts/token/",
    "host": "hosts/<str:id>/",
    "host_place": "hosts/<str:id>/place/",
    "host_action": "hosts/<str:id>/<str:action>/",
    "people": "people/",
    "person_add": "people/add/",
    "people_import": "people/import/",
    "person_limit": "people/of/<str:ident>/limit/",
    "group_limit": "groups/<str:ident>/limit/",
    "group_budget": "groups/<str:ident>/budget/",
    "person_budget": "people/of/<str:ident>/budget/",
    "group_expiry": "groups/<str:ident>/expiry/",
    "group_expiry_rule": "groups/<str:ident>/expiry-rule/",
    "expiry_let_go": "expiry/let-go/",
    "instance_expiry": "instances/<str:ident>/expiry/set/",
    "reports": "reports/",
    "person": "people/of/<str:ident>/",
    "person_password": "people/of/<str:ident>/password/",
    "person_delete": "people/of/<str:ident>/delete/",
    "person_keep": "people/of/<str:ident>/keep/",
    "person_place": "people/of/<str:ident>/place/",
    "grant_give": "people/of/<str:ident>/grants/add/",
    "grant_take": "people/of/<str:ident>/grants/<str:grant>/take/",
    "groups": "groups/",
    "group_add": "groups/add/",
    "group": "groups/<str:ident>/",
    "group_move": "groups/<str:ident>/move/",
    "group_delete": "groups/<str:ident>/delete/",
    "access_roles": "access-roles/",
    "access_role_add": "access-roles/add/",
    "access_role": "access-roles/<str:ident>/",
    "access_role_change": "access-roles/<str:ident>/change/",
    "access_role_delete": "access-roles/<str:ident>/delete/",
    "image_unshare": "images/<str:ident>/shares/<str:share>/end/",
    "instance_unshare": "instances/<str:ident>/shares/<str:share>/end/",
    "audit": "audit/",
    "history": "history/<str:ident>/",
    "api_audit_export": "api/v1/audit/export/",
    "person_deactivate": "people/of/<str:ident>/deactivate/",
    "person_reactivate": "people/of/<str:ident>/reactivate/",
    "person_unlock": "people/of/<str:ident>/unlock/",
    "person_second_step_remove": "people/of/<str:ident>/second-step/",
    "login_code": "login/code/",
    "request": "request/",
    "request_state": "request/state/",
    "requests": "requests/",
    "request_approve": "requests/<str:ident>/approve/",
    "request_refuse": "requests/<str:ident>/refuse/",
    "group_requests": "groups/<str:ident>/requests/",
    "account_profile": "account/profile/",
    "login_passkey": "login/passkey/",
    "login_passkey_begin": "login/passkey/begin/",
    "account_passkey_begin": "account/passkeys/begin/",
    "account_passkey_add": "account/passkeys/add/",
    "account_passkey_rename": "account/passkeys/<str:ident>/rename/",
    "account_passkey_remove": "account/passkeys/<str:ident>/remove/",
    "person_token_add": "people/of/<str:ident>/tokens/add/",
    "person_passkeys_remove": "people/of/<str:ident>/passkeys/",
    "account": "account/",
    "login_with": "login/with/<str:ident>/",
    "login_out": "login/with/<str:ident>/out/",
    "login_again": "account/again/",
    "directories": "directories/",
    "directory": "directories/<str:ident>/",
    "directory_unmap": "directories/<str:ident>/mappings/<str:mapping>/remove/",
    "directory_add": "directories/add/",
    "directory_switch": "directories/<str:ident>/switch/",
    "directory_check": "directories/<str:ident>/check/",
    "directory_import": "directories/<str:ident>/import/",
    "directory_map": "directories/<str:ident>/map/",
    "directory_belong": "directories/<str:ident>/belong/",
    "directory_change": "directories/<str:ident>/change/",
    "directory_test": "directories/<str:ident>/test/",
    "directory_remove": "directories/<str:ident>/remove/",
    "account_password": "account/password/",
    "account_token_add": "account/tokens/add/",
    "account_token_revoke": "account/tokens/<str:ident>/revoke/",
    "account_sessions_end": "account/sessions/end-others/",
    "account_session_end": "account/sessions/<str:ident>/end/",
    "account_second_step": "account/second-step/",
    "account_second_step_enrol": "account/second-step/enrol/",
    "account_second_step_confirm": "account/second-step/confirm/",
    "account_second_step_remove": "account/second-step/remove/",
    "account_recovery_codes": "account/second-step/recovery-codes/",
    "portal": "portal/",
    "overview_roles": "overview/roles/",
}
urlpatterns = [path(where, _nothing, name=name) for name, where in _PATHS.items()]
urlpatterns.append(path("i18n/setlang/", set_language, name="set_language"))


def stamp(ago_s: float) -> str:
    return clock.rfc3339(clock.now() - ago_s)


def error(code: str, what: str, why: str) -> dict[str, str]:
    return {"code": code, "what": what, "why": why, "hint": CODES[code].hint}


def instance(name: str, state: InstanceState, number: int, **more: Any) -> dict[str, Any]:
    up = state in {InstanceState.RUNNING, InstanceState.STARTING, InstanceState.UNKNOWN}
    return {
        "id": f"ins-3fa21c{number:02x}",
        "name": name,
        "state": state,
        "kind": Usage.DESKTOP,
        "image": "debian",
        "image_name": "debian",
        "image_id": "img-5e20b1aa",
        "image_version": 2,
        "cpus": 2,
        "memory_bytes": 2 * GIB,
        "owner": "student-07",
        "owner_group": "edu.school.class1",
        "cluster": "cc-77aa10b2",
        "host": "nc-0c11b2d4" if up else "",
        "host_name": "nc-02" if up else "",
        "nics": [{"mac": f"52:54:00:3f:a2:{number:02x}", "ip": f"10.42.0.{17 + number}", "network": "default"}]
        if up
        else [],
        "display": {"protocol": "vnc", "port": 5901, "url": ""},
        "accelerator": Accelerator.TCG,
        "error": None,
        "created_at": stamp(3600 * number + 140),
        "task": "",
        "work": None,
        "may": right_samples.ALL,
        **more,
    }


def instances() -> list[dict[str, Any]]:
    return [
        instance("physics-lab-301", InstanceState.RUNNING, 1),
        instance(
            "web-server", InstanceState.RUNNING, 2, kind=Usage.SERVER, cpus=4, memory_bytes=8 * GIB, host_name="nc-01"
        ),
        instance(
            "exam-room-4",
            InstanceState.STARTING,
            3,
            task="tsk-77c0aa19",
            nics=[],
            work={
                "kind": "instance.run",
                "phase": "fetch-node",
                "progress": 63,
                "bytes_done": int(1.9 * GIB),
                "bytes_total": 3 * GIB,
                "rate": 118 * MIB,
            },
        ),
        instance(
            "old-course",
            InstanceState.FAILED,
            4,
            error=error(
                "digest", "The image does not match its digest", "nc-03 read sha256 9f31… where the store says 27bc…"
            ),
        ),
        instance("homework-kit", InstanceState.STOPPED, 5),
        instance("library-kiosk", InstanceState.UNKNOWN, 6, host_name="nc-04"),
    ]


def image(name: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"img-5e20b1{number:02x}",
        "name": name,
        "usage": Usage.DESKTOP,
        "state": ImageState.PUBLISHED,
        "owner": "admin",
        "versions": [
            {
                "version": n,
                "sha256": f"{n}7bc4e10a9d3" * 5,
                "size_bytes": 184 * MIB * number * n,
                "virtual_size_bytes": 8 * GIB,
                "format": "qcow2",
                "created_at": stamp(86400 * (3 - n)),
            }
            for n in (1, 2)
        ],
        "architecture": Architecture.X86_64,
        "owner_group": "edu.school.class-7",
        "os_type": "windows",
        "os_distro": "win7",
        "published_at": stamp(86400),
        "published_count": 2,
        "special": {"disk_bus": "sata", "vif_model": "e1000", "clock": "localtime"},
        "memory_bytes": 512 * 2**20,
        "cached_on": ["nc-01", "nc-02"] if number == 1 else [],
        "every_version": [{"version": 1}, {"version": 2}],
        "where": [
            {
                "host": f"nc-0000000{n}",
                "host_name": f"nc-0{n}",
                "versions": [None, {"whole": n == 1, "bytes_done": 40 * MIB, "bytes_total": 184 * MIB}],
            }
            for n in (1, 2)
            if number == 1
        ],
        "error": None,
        "work": None,
        "may": right_samples.ALL,
        **more,
    }


def _row(version: int, came: str, parent: str | None, **more: Any) -> dict[str, Any]:
    return {"version": version, "state": "published", "came": came, "parent": parent, "made": [], "short": "", "by": "", "pinned": False,
            "created_at": stamp(86400 * (6 - version)), "word": ImageState.PUBLISHED, **more}


_AMOUNT = {"blocks": 300, "bytes": 300 * 65_536}
_KEPT: dict[str, Any] = {
    "timeline": {
        "rows": [
            _row(5, "back", "debian:1", by="admin"), _row(4, "change", "debian:2", by="zhang", short="Office with the new fonts"),
            _row(3, "change", "debian:1", by="li", pinned=True), _row(2, "change", "debian:1", made=["geo-lab:1"], state="retired", word=ImageState.RETIRED),
            _row(1, "upload", None),
        ],
        "width": 48, "height": 220,
        "lines": [
            {"d": "M14 198 C0 176 0 44 14 22", "came": "back"}, {"d": "M14 154 V66", "came": "change"},
            {"d": "M14 198 C14 176 34 176 34 154 V110", "came": "change"}, {"d": "M14 198 V154", "came": "change"},
        ],
        "points": [{"x": 34 if n == 3 else 14, "y": 242 - 44 * n, "state": "retired" if n == 2 else "published"} for n in range(1, 6)],
    },
    "rule": {"keep": 5, "is_default": True, "going": "v1, v2", "asked": True},
    "differences": [{"one": 1, "other": 2, "only_one": _AMOUNT, "only_other": _AMOUNT, "shared": _AMOUNT}],
    "can_compare": True,
    "properties": [{"name": "disk_bus", "title": "Disks", "words": ["virtio", "ide"]}],
}


def images() -> list[dict[str, Any]]:
    return [
        image("debian", 1),
        image("tiny", 2, usage=Usage.SERVER),
        image("office-desktop", 6),
        image("geo-lab", 9, state=ImageState.BUILDING, versions=[], work={"phase": "check", "progress": 40}),
    ]


def step(name: str, state: str, start: float, end: float | None, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "started_at": stamp(start) if start else None,
        "ended_at": stamp(end) if end else None,
        "bytes_done": 0,
        "bytes_total": 0,
        "host": "cc-77aa10b2",
        **more,
    }


def task(
    state: TaskState = TaskState.RUNNING, kind: str = "instance/run", name: str = "exam-room-4", **more: Any
) -> dict[str, Any]:
    ended = state in {TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED}
    return {
        "id": "tsk-77c0aa19",
        "tid": "img-5e20b101:img-5e20b101:ins-3fa21c03",
        "kind": kind,
        "state": state,
        "phase": "fetch-node",
        "progress": 63,
        "bytes_done": int(1.9 * GIB),
        "bytes_total": 3 * GIB,
        "owner": "student-07",
        "owner_group": "edu.school.class1",
        "subject": "ins-3fa21c03",
        "subject_name": name,
        "subject_url": "/instances/ins-3fa21c03/",
        "created_at": stamp(71),
        "started_at": stamp(70),
        "ended_at": stamp(12) if ended else None,
        "error": None,
        "steps": [
            step("place", "done", 70, 69.8, note="nc-02: least loaded of 4"),
            step("fetch-cluster", "done", 69.8, 69.6),
            step("fetch-node", "running", 69, None, host="nc-0c11b2d4", bytes_done=int(1.9 * GIB), bytes_total=3 * GIB),
            step("boot", "waiting", 0, None, host=""),
        ],
        **more,
    }


def tasks() -> list[dict[str, Any]]:
    return [
        task(),
        task(TaskState.DONE, name="web-server", id="tsk-10aa0001", created_at=stamp(410)),
        task(TaskState.DONE, "image.publish", "debian", id="tsk-10aa0002", created_at=stamp(3800)),
        task(
            TaskState.FAILED,
            name="old-course",
            id="tsk-10aa0003",
            created_at=stamp(8000),
            error=error(
                "digest", "The image does not match its digest", "nc-03 read sha256 9f31… where the store says 27bc…"
            ),
        ),
        task(TaskState.QUEUED, "instance.delete", "spare-2", id="tsk-10aa0004", created_at=stamp(3)),
    ]


def host(role: Role, name: str, state: HostState = HostState.UP, **facts: Any) -> dict[str, Any]:
    node = {
        "cpus": 16,
        "cpus_used": 6,
        "memory_bytes": 64 * GIB,
        "memory_used_bytes": 21 * GIB,
        "disk_bytes": 900 * GIB,
        "disk_used_bytes": 240 * GIB,
        "accelerator": Accelerator.TCG,
        "accelerator_why": "KVM is present and unusable: a tiny kernel printed nothing in 15 s. Machines run emulated.",
    }
    return {
        "id": f"{role}-0c11b2{name[-2:]:>02}",
        "role": role,
        "name": name,
        "state": state,
        "last_heartbeat_age_s": 2.4,
        "boss": "cc-77aa10b2" if role is Role.NC else "",
        "group": "everybody",
        "facts": {**(node if role is Role.NC else {}), **facts},
    }


def hosts() -> list[dict[str, Any]]:
    return [
        host(Role.CLC, "clc-01"),
        host(Role.WALRUS, "walrus-01"),
        host(Role.CC, "cc-01"),
        host(Role.NC, "nc-01", accelerator=Accelerator.KVM, cpus_used=11),
        host(Role.NC, "nc-02"),
        {**host(Role.NC, "nc-04", HostState.SILENT), "last_heartbeat_age_s": 42},
        {**host(Role.NC, "nc-05", HostState.NEW), "last_heartbeat_age_s": None, "facts": {}},
    ]


def roles() -> list[dict[str, Any]]:
    rows = (
        (Role.CLC, 1, 1, 1.2, Health.OK, "Console, API and all decisions"),
        (Role.WALRUS, 1, 1, 2.1, Health.OK, "4 images, 3.1 GiB"),
        (Role.CC, 1, 1, 0.4, Health.OK, "cluster default, 4 nodes"),
        (Role.NC, 3, 4, 1.8, Health.WARN, "nc-04 silent, 1 machine unknown"),
        (Role.SC, 1, 1, 3.0, Health.OK, "waits for its first volume"),
    )
    return [
        {"role": role, "up": up, "total": total, "last_heartbeat_age_s": age, "health": health, "line": line}
        for role, up, total, age, health, line in rows
    ]


CAPACITY = {
    "cpus_used": 23,
    "cpus_total": 64,
    "cpus_free": 41,
    "memory_used_bytes": 96 * GIB,
    "memory_total_bytes": 256 * GIB,
    "memory_free_bytes": 160 * GIB,
    "addresses_used": 31,
    "addresses_total": 200,
    "store_used_bytes": int(3.1 * 1024 * GIB),
    "store_total_bytes": 4 * 1024 * GIB,
}
PARTS = [
    {"name": "broker", "health": Health.OK, "line": "RabbitMQ, 7 queues, nothing waiting"},
    {"name": "board", "health": Health.OK, "line": "memcached, 38 pictures"},
    {"name": "database", "health": Health.OK, "line": "SQLite, 1.2 MiB, WAL"},
]
FAILING = [
    {
        "id": "ins-3fa21c04",
        "title": "old-course",
        "url": "/instances/ins-3fa21c04/",
        "at": stamp(400),
        "error": error("digest", "The image does not match its digest", "nc-03 read another sha256 than the store has"),
    },
]
TRACE = [
    {"at": "10:41:02.118", "role": Role.CLC, "host": "clc-0c11b2d4", "what": "instance.run accepted"},
    {"at": "10:41:02.204", "role": Role.CC, "host": "cc-77aa10b2", "what": "nc-02 chosen of 4"},
    {"at": "10:41:02.377", "role": Role.NC, "host": "nc-0c11b2d4", "what": "image.fetch begun"},
]
ME = {"username": "admin", "is_admin": True, "language": "en"}
LOG = {
    "text": "[    0.000000] Linux version 6.1.0\n[    1.204511] Run /init as init process\ntiny: address 10.42.0.18\n",
    "at": stamp(4),
}
MENU_ICONS = {
    "overview": "layout-dashboard",
    "instances": "device-desktop",
    "images": "photo",
    "tasks": "list-check",
    "hosts": "server-2",
    "people": "users",
    "portal": "layout-grid",
}
MENU_TITLES = {
    "en": ("Overview", "Instances", "Images", "Tasks", "Hosts", "People", "Portal"),
    "zh-hans": ("概览", "实例", "镜像", "任务", "主机", "用户", "门户"),
}


def menu(active: str, language: str) -> list[dict[str, Any]]:
    titles = MENU_TITLES[language]
    return [
        {"slug": slug, "title": titles[n], "url": "/" + _PATHS[slug], "icon": icon, "active": slug == active}
        for n, (slug, icon) in enumerate(MENU_ICONS.items())
    ]


FORM: dict[str, Any] = {"values": {}, "errors": {}}
_HALF_DONE = [
    {"id": "u1", "name": "cutoff", "version": 1, "share": "31 %", "size_bytes": 96 << 20, "account": "ada", "created_at": "2026-01-01T00:00:00Z"},
    {"id": "u2", "name": "lab", "version": 4, "share": "", "size_bytes": 5 << 30, "account": "ada", "created_at": "2026-01-01T00:00:00Z"},
]
_WRONG = {
    "values": {"name": "../x"},
    "errors": {"name": "Letters, digits, dot and dash only.", "image": "Choose one.", "ssh_key": "Not a key."},
}
_ERROR = error("no_capacity", "No node can take it now", "nc-01: 0 of 16 CPUs free; nc-02: draining")


def pages() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Page name -> template, menu entry, context."""
    one = instances()
    return {
        "login": ("login.html", "", {"form": FORM, "me": None, "cloud_name": "School cloud"}),
        "login-refused": (
            "login.html",
            "",
            {
                "form": {"values": {"username": "admin"}, "errors": {}},
                "me": None,
                "error": error("unauthenticated", "Name or password is wrong", ""),
            },
        ),
        "overview": (
            "overview.html",
            "overview",
            {
                "roles": roles(),
                "parts": PARTS,
                "capacity": CAPACITY,
                "tasks": tasks(),
                "failing": FAILING,
                "cloud_name": "School cloud",
            },
        ),
        "overview-new": (
            "overview.html",
            "overview",
            {
                "roles": roles(),
                "parts": PARTS,
                "capacity": {**CAPACITY, "cpus_used": 0},
                "tasks": [],
                "failing": [],
                "simulated": True,
            },
        ),
        "instances": ("instances/list.html", "instances", {"rows": one, "filters": {}, "next_url": "?after=x"}),
        "instances-none": ("instances/list.html", "instances", {"rows": [], "filters": {}}),
        "instances-filtered": (
            "instances/list.html",
            "instances",
            {"rows": [], "filters": {"q": "abc", "state": "failed"}},
        ),
        "instance": ("instances/detail.html", "instances", {"instance": one[0], "tab": "overview"}),
        "instance-reached": ("instances/detail.html", "instances", {"instance": one[0], "tab": "overview", "form": FORM, **access_samples.REACHED}),
        "instance-opened": ("instances/detail.html", "instances", {"instance": one[0], "tab": "overview", "form": FORM, **access_samples.OPENED}),
        "security-groups": ("security_groups/list.html", "security_groups", {"rows": access_samples.GROUPS, "form": FORM}),
        "security-groups-none": ("security_groups/list.html", "security_groups", {"rows": [], "form": FORM}),
        "security-group": (
            "security_groups/detail.html", "security_groups", {"group": access_samples.GROUPS[0], "instances": one[:2], "form": FORM, "command": "educloud"},
        ),
        "networks": (
            "networks/list.html", "networks",
            {"rows": [pool_samples.NETWORK], "own": [pool_samples.OWN], "clusters": access_samples.CLUSTERS, "form": FORM},
        ),
        "network": ("networks/detail.html", "networks", {"network": pool_samples.NETWORK, "instances": one[:2], "form": FORM, "command": "educloud"}),
        "network-own": ("networks/detail.html", "networks", {"network": pool_samples.OWN, "is_own": True, "form": FORM, "command": "educloud"}),
        "network-addresses": (
            "networks/addresses.html", "networks",
            {"pool": pool_samples.POOL, "map": pool_samples.MAP, "leases": pool_samples.LEASES, "next_after": "10.40.0.6", "form": FORM, "command": "educloud"},
        ),
        "network-large": (
            "networks/addresses.html", "networks",
            {"pool": pool_samples.POOL, "map": pool_samples.LARGE_MAP, "leases": [], "form": FORM, "command": "educloud"},
        ),
        "network-reservations": (
            "networks/reservations.html", "networks", {"pool": pool_samples.POOL, "rows": pool_samples.ROWS, "form": FORM, "command": "educloud"},
        ),
        "addresses": ("addresses/list.html", "addresses", {"rows": access_samples.ADDRESSES, "form": FORM, "clusters": access_samples.CLUSTERS}),
        "addresses-none": ("addresses/list.html", "addresses", {"rows": [], "form": FORM, "clusters": [], "each": 4}),
        "instance-starting": ("instances/detail.html", "instances", {"instance": one[2], "tab": "overview"}),
        "instance-failed": ("instances/detail.html", "instances", {"instance": one[3], "tab": "overview"}),
        "instance-unknown": ("instances/detail.html", "instances", {"instance": one[5], "tab": "overview"}),
        "instance-screen": ("instances/detail.html", "instances", {"instance": one[0], "tab": "screen"}),
        "instance-serial": ("instances/detail.html", "instances", {"instance": one[0], "tab": "serial"}),
        "instance-log": ("instances/detail.html", "instances", {"instance": one[0], "tab": "log", "log": LOG}),
        "instance-log-none": ("instances/detail.html", "instances", {"instance": one[0], "tab": "log", "log": {}}),
        "instance-tasks": (
            "instances/detail.html",
            "instances",
            {"instance": one[0], "tab": "tasks", "tasks": tasks()},
        ),
        "screen": ("instances/screen.html", "", {"instance": one[0]}),
        "serial": ("instances/serial.html", "", {"instance": one[0]}),
        "run": ("instances/run.html", "instances", {"form": FORM, "images": images()[:3], "capacity": CAPACITY}),
        "run-little-left": ("instances/run.html", "instances", {"form": FORM, "images": images()[:3], "capacity": CAPACITY, **limit_samples.LEFT}),
        "run-wrong": ("instances/run.html", "instances", {"form": _WRONG, "images": images()[:3], "error": _ERROR}),
        "run-none": ("instances/run.html", "instances", {"form": FORM, "images": []}),
        "images": ("images/list.html", "images", {"rows": images(), "filters": {}}),
        "images-none": ("images/list.html", "images", {"rows": [], "filters": {}}),
        "image": ("images/detail.html", "images", {"image": images()[0], "instances": one[:2], **_KEPT}),
        "image-seen": ("images/detail.html", "images", {"image": image("debian", 1, may=right_samples.NOTHING)}),
        "instance-seen": ("instances/detail.html", "instances", {"instance": one[0] | {"may": right_samples.NOTHING}, "tab": "overview"}),
        "upload": ("images/upload.html", "images", {"form": FORM}),
        "upload-half-done": ("images/upload.html", "images", {"form": FORM, "half_done": _HALF_DONE}),
        "image-half-done": ("images/detail.html", "images", {"image": images()[0], "half_done": _HALF_DONE}),
        "import": ("images/import.html", "images", {"form": FORM}),
        "import-wrong": ("images/import.html", "images", {"form": _WRONG, "error": _ERROR}),
        "import-taken": ("images/import.html", "images", {"form": FORM, "is_taken": True}),
        "tasks": ("tasks/list.html", "tasks", {"rows": tasks(), "filters": {}}),
        "tasks-none": ("tasks/list.html", "tasks", {"rows": [], "filters": {}}),
        "task": ("tasks/detail.html", "tasks", {"task": task(), "trace": TRACE}),
        "task-failed": (
            "tasks/detail.html",
            "tasks",
            {
                "task": {
                    **tasks()[3],
                    "steps": [step("fetch-node", "failed", 60, 50), step("address", "undone", 50, 49)],
                }
            },
        ),
        "hosts": ("hosts/list.html", "hosts", {"rows": hosts(), "filters": {}}),
        "hosts-none": ("hosts/list.html", "hosts", {"rows": [], "filters": {}}),
        "host": (
            "hosts/detail.html",
            "hosts",
            {
                "host": hosts()[4],
                "instances": one[:2],
                "fact_rows": [("Kernel", "6.1.0-28-amd64"), ("libvirt", "9.0.0"), ("QEMU", "7.2.15")],
            },
        ),
        "host-silent": ("hosts/detail.html", "hosts", {"host": hosts()[5], "instances": []}),
        "token": ("hosts/token.html", "hosts", {"form": FORM}),
        "token-made": (
            "hosts/token.html",
            "hosts",
            {
                "form": FORM,
                "join": {
                    "command": "make join ROLE=nc BOSS=10.0.0.5:8443 TOKEN=k7Qm-…",
                    "expires_at": stamp(-3600),
                    "role": Role.NC,
                },
            },
        ),
        "audit": ("audit/list.html", "people", audit_samples.LIST),
        "audit empty": ("audit/list.html", "people", audit_samples.EMPTY),
        "audit nothing fits": ("audit/list.html", "people", audit_samples.NOTHING_FITS),
        "history": ("audit/history.html", "instances", audit_samples.HISTORY),
        "people": (
            "people/list.html",
            "people",
            {
                "rows": right_samples.PEOPLE,
                **right_samples.CHOICES,
                "filters": {},
                "form": FORM,
                "created": {"username": "student-07", "password": "brave-otter-19"},
            },
        ),
        "person": (
            "people/detail.html",
            "people",
            {
                **right_samples.PERSON,
                **sign_in_samples.sign_ins(stamp),
                "instances": one[:2],
                "form": FORM,
                "command": "educloud user password student-07",
                "reset": {"password": "brave-otter-19"},
            },
        ),
        "people-none": ("people/list.html", "people", {"rows": [], "form": FORM, "filters": {"group": "edu.none"}, **right_samples.CHOICES}),
        "person-asked": (
            "people/detail.html", "people", {**right_samples.PERSON, "grants": [], "why": right_samples.WHY_NOT, "form": FORM, "command": "educloud"},
        ),
        "groups": ("rights/groups.html", "groups", {**right_samples.GROUPS, "form": FORM}),
        "groups-none": ("rights/groups.html", "groups", {**right_samples.GROUPS, "rows": [], "form": FORM}),
        "group": ("rights/group.html", "groups", {**right_samples.GROUP, "images": images()[:1], "instances": one[:2], "form": FORM}),
        "group-everybody": (
            "rights/group.html", "groups", {**right_samples.GROUP, "is_everybody": True, "people": [], "over": [], "below": [], "form": FORM},
        ),
        "access-roles": ("rights/roles.html", "access_roles", {**right_samples.ROLES, "form": FORM}),
        "access-role": ("rights/role.html", "access_roles", {**right_samples.ROLE, "form": FORM}),
        "access-role-ready-made": (
            "rights/role.html", "access_roles",
            {**right_samples.ROLE, "role": right_samples.ROLES["rows"][0], "may_change": False, "holders": [], "form": FORM},
        ),
        "image-shared": ("images/detail.html", "images", {"image": images()[0], "form": FORM, **_KEPT, "sharing": right_samples.SHARING}),
        "instance-shared": (
            "instances/detail.html", "instances",
            {"instance": one[0], "tab": "overview", "form": FORM, **access_samples.OPENED,
             "sharing": right_samples.SHARING | {"shares": [], "unshare": "instance_unshare"}},
        ),
        **limit_samples.batches(FORM),
        **limit_samples.reports(),
        "instance-soon": ("instances/detail.html", "instances", {"instance": one[0], "tab": "overview", "form": FORM, **limit_samples.SOON}),
        "instance-over": ("instances/detail.html", "instances", {"instance": one[4], "tab": "overview", "form": FORM, **limit_samples.OVER}),
        "group-seen": ("rights/group.html", "groups", {**right_samples.GROUP, **limit_samples.READ_ONLY, "form": FORM}),
        "portal-soon": ("portal/home.html", "portal", {"rows": one[:1], "images": images()[:1], "soon": [
            {"instance_id": one[0]["id"], "instance": one[0], "ended_at": 0, "expires_at": BASE}]}),
        "who": ("rights/who.html", "images", right_samples.WHO),
        "who-nobody": ("rights/who.html", "images", right_samples.WHO | {"rows": []}),
        **people_samples.pages(stamp, FORM),
        **sign_in_samples.pages(stamp, FORM),
        **directory_samples.pages(FORM),
        "portal": ("portal/home.html", "", {"rows": one[:5], "images": images()[:3]}),
        "portal-nothing-left": ("portal/home.html", "", {"rows": one[:5], "images": images()[:3], **limit_samples.LEFT}),
        "portal-none": ("portal/home.html", "", {"rows": [], "images": []}),
        "error": (
            "error.html",
            "",
            {
                "error": error(
                    "not_found", "There is no instance ins-00000000", "It may be deleted, or belong to somebody else."
                ),
                "status": 404,
                "request_id": "req-9a31c0de",
            },
        ),
    }


def fragments() -> dict[str, tuple[str, dict[str, Any]]]:
    """Fragment name -> template, context."""
    return {
        "instance_row": ("instances/_row.html", {"i": instances()[2]}),
        "instance_rows": ("instances/_rows.html", {"rows": instances(), "filters": {}}),
        "task_row": ("tasks/_row.html", {"t": task()}),
        "task_steps": ("tasks/_steps.html", {"task": task()}),
        "overview_roles": ("overview/_roles.html", {"roles": roles()}),
        "toast": (
            "_toast.html",
            {
                "toast": {
                    "kind": "success",
                    "title": "Stopping",
                    "text": "physics-lab-301",
                    "url": "/tasks/tsk-77c0aa19/",
                }
            },
        ),
    }
