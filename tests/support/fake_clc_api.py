"""A small cloud in memory behind the REST contract: keeps state, moves its tasks at every look, opens no socket."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx

from luhyaapi import ids
from luhyaapi.errors import CODES, Refused, Trouble

URL = "http://cloud.test"
TOKEN = "good-token"
ADMIN_PASSWORD = "right"
_ROUTES: list[tuple[str, re.Pattern[str], str]] = []


def _route(method: str, pattern: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(work: Callable[..., Any]) -> Callable[..., Any]:
        _ROUTES.append((method, re.compile(f"/api/v1/{pattern}"), work.__name__))
        return work

    return register


@dataclass
class Request:
    """What a handler sees."""

    method: str
    path: str
    body: bytes
    query: dict[str, list[str]]
    headers: dict[str, str]

    @property
    def form(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")


@dataclass
class Raw:
    """An answer that is not JSON."""

    data: bytes
    kind: str = "application/octet-stream"
    status: int = 200


@dataclass
class FakeCloud:
    """State of the cloud; a WSGI application. ``looks`` is how many looks a task needs until it is done."""

    looks: int = 2
    instances: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    blobs: dict[tuple[str, int, str], bytes] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    builds: dict[str, dict[str, Any]] = field(default_factory=dict)
    workspaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    fail_tasks_with: dict[str, str] | None = None
    queue: dict[str, Any] | None = None
    refuse_with: str = ""
    page: int = 50
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    password: str = ADMIN_PASSWORD
    _ends: dict[str, Callable[[], None]] = field(default_factory=dict)

    def add_image(self, name: str, **parts: bytes) -> dict[str, Any]:
        """A published image with these files."""
        image = next((i for i in self.images.values() if i["name"] == name), None)
        if image is None:
            image = {"id": ids.new("img"), "name": name, "usage": "server", "versions": [], "cached_on": []}
            self.images[image["id"]] = image
        number = len(image["versions"]) + 1
        sums = {p: hashlib.sha256(b).hexdigest() for p, b in parts.items()}
        listed = [
            {"part": p, "sha256": sums[p], "size_bytes": len(b), "uploaded": {"sha256": sums[p], "size_bytes": len(b), "was": []}} for p, b in parts.items()
        ]
        version = {"version": number, "state": "published", "sha256": listed[0]["sha256"], "size_bytes": sum(map(len, parts.values())), "virtual_size_bytes": 0,
                   "format": "raw", "created_at": "2026-01-01T00:00:00Z", "parts": listed}  # fmt: skip
        image["versions"].append(version)
        self.blobs |= {(image["id"], number, p): b for p, b in parts.items()}
        return image

    def add_host(self, name: str, role: str = "nc", state: str = "up") -> dict[str, Any]:
        host = {"id": ids.new(role), "role": role, "name": name, "state": state, "last_heartbeat_age_s": 1.5, "facts": {"cpus": 2}}
        self.hosts[host["id"]] = host
        return host

    def add_instance(self, name: str, state: str = "running") -> dict[str, Any]:
        ident = ids.new("ins")
        made = {
            "id": ident, "name": name, "state": state, "kind": "server", "image": "tiny", "image_version": 1, "cpus": 1,
            "memory_bytes": 2**28, "owner": "admin", "cluster": "one", "host": None, "nics": [], "error": None,
            "display": {"protocol": "vnc", "port": 0, "url": f"/instances/{ident}/screen/"}, "created_at": "2026-01-01T00:00:00Z", "task": None,
        }  # fmt: skip
        self.instances[ident] = made
        return made

    def task(self, kind: str, end: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """A task that ends by itself after ``looks`` looks."""
        made = {"id": ids.new("tsk"), "kind": kind, "state": "queued", "phase": "submitting", "progress": 0, "error": None, "tid": "a:b:c", "looked": 0,
                "steps": [{"name": "move bytes", "state": "running", "started_at": None, "ended_at": None, "bytes_done": 0, "bytes_total": 100}]}  # fmt: skip
        self.tasks[made["id"]] = made
        self._ends[made["id"]] = end
        return made

    def _advance(self, task: dict[str, Any]) -> None:
        if task["state"] in {"done", "failed", "cancelled"}:
            return
        task["looked"] += 1
        task["queue"] = self.queue if task["looked"] < self.looks else None
        if task["looked"] < self.looks:
            task |= {"state": "running", "progress": int(100 * task["looked"] / self.looks)}
            task["steps"][0]["bytes_done"] = task["progress"]
        elif self.fail_tasks_with:
            task |= {"state": "failed", "error": self.fail_tasks_with}
        else:
            task |= {"state": "done", "progress": 100}
            task["steps"][0] |= {"state": "done", "bytes_done": 100}
            self._ends[task["id"]]()

    # the web side

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
        request = Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["wsgi.input"].read(), parse_qs(environ["QUERY_STRING"]), headers)
        self.requests.append(request)
        try:
            status, answer = self._answer(request)
        except Trouble as e:
            status, answer = CODES[e.code].http, {"type": "about:blank", "title": CODES[e.code].title, "status": CODES[e.code].http, **e.wire()}
            if e.params.get("task"):
                answer["task"] = e.params["task"]
        raw = answer if isinstance(answer, Raw) else Raw(json.dumps(answer).encode() if answer is not None else b"", "application/json", status)
        start(f"{raw.status} X", [("Content-Type", raw.kind), ("Content-Length", str(len(raw.data)))])
        return [raw.data]

    def _answer(self, request: Request) -> tuple[int, Any]:
        if request.path != "/api/v1/login/" and request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Refused("unauthenticated", "No valid token came with the request")
        if self.refuse_with:
            family = CODES[self.refuse_with].family
            raise type("T", (Trouble,), {"family": family})(self.refuse_with, "It was refused", "the test wants it", task="tsk-00000001")
        key = request.headers.get("idempotency-key", "")
        if request.method == "POST" and not key:
            raise Refused("invalid", "Idempotency-Key is missing")
        if key and key in self.answers:
            return self.answers[key]
        answer = self._dispatch(request)
        if key:
            self.answers[key] = answer
        return answer

    def _dispatch(self, request: Request) -> tuple[int, Any]:
        for method, pattern, name in _ROUTES:
            found = pattern.fullmatch(request.path)
            if found and method == request.method:
                return getattr(self, name)(request, *(unquote(g) for g in found.groups()))
        raise Refused("not_found", "There is nothing here", request.path)

    @staticmethod
    def _one(of: dict[str, dict[str, Any]], name: str, *, named: bool = True) -> dict[str, Any]:
        found = of.get(name) or next((t for t in of.values() if named and t.get("name") == name), None)
        if found is None:
            raise Refused("not_found", f"There is no {name}")
        return found

    def _page(self, request: Request, of: dict[str, dict[str, Any]]) -> tuple[int, Any]:
        at = int(request.query.get("cursor", ["0"])[0])
        things = list(of.values())
        following = f"{URL}{request.path}?cursor={at + self.page}" if at + self.page < len(things) else None
        return 200, {"results": things[at : at + self.page], "next": following}

    @_route("POST", "login/")
    def login(self, request: Request) -> tuple[int, Any]:
        if request.form["password"] != self.password or "authorization" in request.headers:
            raise Refused("unauthenticated", "The name or the password is wrong")
        token = TOKEN if not self.users else ids.secret()
        self.tokens.add(token)
        return 200, {"token": token, "expires_at": "2027-01-01T00:00:00Z"}

    @_route("GET", "status/")
    def status(self, request: Request) -> tuple[int, Any]:
        part = {"name": "broker", "health": "ok", "line": "answers"}
        return 200, {"health": "ok", "parts": [part], "hosts": list(self.hosts.values())}

    @_route("GET", "(hosts|images|instances|tasks)/")
    def listing(self, request: Request, noun: str) -> tuple[int, Any]:
        return self._page(request, getattr(self, noun))

    @_route("POST", "hosts/tokens/")
    def host_token(self, request: Request) -> tuple[int, Any]:
        return 201, {"token": "once", "role": request.form["role"], "expires_at": "2026-01-01T01:00:00Z"}

    @_route("GET", "hosts/([^/]+)/")
    def host(self, request: Request, name: str) -> tuple[int, Any]:
        return 200, self._one(self.hosts, name)

    @_route("POST", "hosts/([^/]+)/(approve|refresh|drain|resume)/")
    def host_action(self, request: Request, name: str, action: str) -> tuple[int, Any]:
        host = self._one(self.hosts, name)
        host["state"] = {"approve": "up", "drain": "draining", "resume": "up"}.get(action, host["state"])
        return 200, host

    @_route("POST", "hosts/([^/]+)/lost/")
    def host_lost(self, request: Request, name: str) -> tuple[int, Any]:
        host = self._one(self.hosts, name)
        del self.hosts[host["id"]]
        return 200, host | {"state": "retired"}

    @_route("DELETE", "hosts/([^/]+)/")
    def host_remove(self, request: Request, name: str) -> tuple[int, Any]:
        del self.hosts[self._one(self.hosts, name)["id"]]
        return 204, Raw(b"", status=204)

    @_route("GET", "images/([^/]+)/")
    def image(self, request: Request, name: str) -> tuple[int, Any]:
        return 200, self._one(self.images, name)

    @_route("GET", "images/([^/]+)/versions/")
    def versions(self, request: Request, name: str) -> tuple[int, Any]:
        return 200, {"results": self._one(self.images, name)["versions"]}

    @_route("GET", r"images/([^/]+)/versions/(\d+)/parts/([a-z]+)/")
    def blob(self, request: Request, name: str, number: str, part: str) -> tuple[int, Any]:
        data = self.blobs[self._one(self.images, name)["id"], int(number), part]
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        return 200, Raw(data[int(found[1]) :], status=206) if found else Raw(data)

    @_route("POST", "images/([^/]+)/prefetch/")
    def prefetch(self, request: Request, name: str) -> tuple[int, Any]:
        self._one(self.images, name)
        task = self.task("image/prefetch")
        task["steps"] = [dict(task["steps"][0], name=host, host=host, note="") for host in request.form["hosts"]]
        task["prompt"] = "the time passed; it is not yet on nc1"
        return 202, task

    @_route("DELETE", "images/([^/]+)/")
    def image_delete(self, request: Request, name: str) -> tuple[int, Any]:
        del self.images[self._one(self.images, name)["id"]]
        return 204, Raw(b"", status=204)

    @_route("POST", "builds/")
    def build_new(self, request: Request) -> tuple[int, Any]:
        ident = ids.new("tsk")
        self.builds[ident] = {"id": ident, "name": request.form["name"], "state": "running", "phases": []}
        return 202, self.builds[ident]

    @_route("PUT", "builds/([^/]+)/")
    def build_news(self, request: Request, ident: str) -> tuple[int, Any]:
        build = self._one(self.builds, ident)
        build["phases"].append((request.form["phase"], request.form["percent"]))
        return 200, build

    @_route("POST", "builds/([^/]+)/end/")
    def build_end(self, request: Request, ident: str) -> tuple[int, Any]:
        build = self._one(self.builds, ident)
        build["state"], build["what"] = ("failed" if request.form.get("what") else "done"), request.form.get("what", "")
        return 200, build

    def _wished(self, form: dict[str, Any]) -> None:
        if any(i["name"] == form["name"] for i in self.images.values()) and not form.get("new_version"):
            raise Refused("exists", f"There is an image {form['name']!r} already", hint="say so: new_version, --new-version")

    @_route("POST", "images/import/")
    def image_import(self, request: Request) -> tuple[int, Any]:
        self._wished(request.form)
        return 202, self.task("import", lambda: void(self.add_image(request.form["name"], disk=request.form["url"].encode())))

    @_route("POST", "uploads/")
    def upload_new(self, request: Request) -> tuple[int, Any]:
        self._wished(request.form)
        ident = ids.new("upl")
        parts = {p["part"]: {**p, "data": b""} for p in request.form["parts"]}
        self.uploads[ident] = {"id": ident, "name": request.form["name"], "parts": parts}
        return 201, self._upload(ident)

    def _upload(self, ident: str) -> dict[str, Any]:
        upload = self._one(self.uploads, ident)
        parts = [{"part": n, "received_bytes": len(p["data"]), "size_bytes": p["size_bytes"]} for n, p in upload["parts"].items()]
        return {"id": ident, "image": upload["name"], "version": 1, "parts": parts}

    @_route("GET", "uploads/([^/]+)/")
    def upload_show(self, request: Request, ident: str) -> tuple[int, Any]:
        return 200, self._upload(ident)

    @_route("DELETE", "uploads/([^/]+)/")
    def upload_abandon(self, request: Request, ident: str) -> tuple[int, Any]:
        self.uploads.pop(ident, None)
        return 204, Raw(b"", status=204)

    @_route("PUT", "uploads/([^/]+)/([a-z]+)/")
    def upload_piece(self, request: Request, ident: str, part: str) -> tuple[int, Any]:
        held = self._one(self.uploads, ident)["parts"][part]
        if int(request.query["offset"][0]) != len(held["data"]):
            raise Refused("state", "The piece does not fit", f"expected offset {len(held['data'])}")
        held["data"] += request.body
        return 200, {"part": part, "received_bytes": len(held["data"])}

    @_route("POST", "uploads/([^/]+)/complete/")
    def upload_complete(self, request: Request, ident: str) -> tuple[int, Any]:
        upload = self._one(self.uploads, ident)
        for said in request.form["parts"]:
            data = upload["parts"][said["part"]]["data"]
            if hashlib.sha256(data).hexdigest() != said["sha256"] or len(data) != said["size_bytes"]:
                raise Refused("digest", "The bytes do not match their digest")
        parts = {n: p["data"] for n, p in upload["parts"].items()}
        return 202, self.task("upload", lambda: void(self.add_image(upload["name"], **parts)))

    @_route("POST", "instances/")
    def instances_new(self, request: Request) -> tuple[int, Any]:
        self._one(self.images, request.form["image"])
        made = []
        for number in range(request.form.get("count", 1)):
            instance = self.add_instance(request.form.get("name") or f"vm{number}", "defined")
            instance["memory_bytes"] = request.form.get("memory_bytes", 2**28)
            instance["task"] = self.task("run", lambda i=instance: self._running(i))["id"]
            made.append(dict(instance))
        return 202, {"results": made}

    @staticmethod
    def _running(instance: dict[str, Any]) -> None:
        instance |= {"state": "running", "host": "nc-00000001", "nics": [{"mac": "52:54:00:00:00:01", "ip": "10.231.0.5", "network": "default"}]}

    @_route("GET", "instances/([^/]+)/")
    def instance(self, request: Request, ident: str) -> tuple[int, Any]:
        return 200, self._one(self.instances, ident, named=False)

    @_route("POST", "instances/([^/]+)/(stop|start|reboot|connect)/")
    def instance_action(self, request: Request, ident: str, action: str) -> tuple[int, Any]:
        instance = self._one(self.instances, ident, named=False)
        end = {"stop": lambda: instance.update(state="stopped")}.get(action, lambda: self._running(instance))
        instance["task"] = self.task(action, end)["id"]
        return 202, dict(instance)

    @_route("GET", "instances/([^/]+)/remote-desktop/")
    def remote_desktop(self, request: Request, ident: str) -> tuple[int, Any]:
        name = self._one(self.instances, ident, named=False)["name"]
        return 200, {"name": f"{name}.rdp", "text": "full address:s:203.0.113.1:20007\r\n"}

    @_route("DELETE", "instances/([^/]+)/")
    def instance_delete(self, request: Request, ident: str) -> tuple[int, Any]:
        instance = self._one(self.instances, ident, named=False)
        instance["task"] = self.task("delete", lambda: void(self.instances.pop(ident)))["id"]
        return 202, dict(instance)

    @_route("GET", "instances/([^/]+)/log/")
    def instance_log(self, request: Request, ident: str) -> tuple[int, Any]:
        self._one(self.instances, ident, named=False)
        return 200, Raw(b"booted \x1b[31mred\n", "text/plain")

    @_route("GET", "instances/([^/]+)/why/")
    def instance_why(self, request: Request, ident: str) -> tuple[int, Any]:
        return 200, {"node": "nc-00000001", "why": {"nc-00000002": "no memory"}}

    def add_workspace(self, ident: str) -> dict[str, Any]:
        """One that is being prepared."""
        base = {"image": "mine", "version": 1}
        machine = {"id": "ins-00000001", "state": "stopped", "task": self.task("run", lambda: None)["id"]}
        self.workspaces[ident] = {"id": ident, "state": "preparing", "image": "mine", "base": base, "instance": machine}
        return self.workspaces[ident]

    @_route("GET", "workspaces/([^/]+)/")
    def workspace_show(self, request: Request, ident: str) -> tuple[int, Any]:
        return 200, self._one(self.workspaces, ident, named=False)

    @_route("DELETE", "workspaces/([^/]+)/")
    def workspace_abandon(self, request: Request, ident: str) -> tuple[int, Any]:
        space = self._one(self.workspaces, ident, named=False)
        self.tasks[space["instance"]["task"]]["state"] = "cancelled"
        space["instance"] |= {"state": "stopping", "task": self.task("delete", lambda: None)["id"]}
        space["state"] = "abandoned"
        return 202, space

    @_route("GET", "tasks/([^/]+)/")
    def task_show(self, request: Request, ident: str) -> tuple[int, Any]:
        task = self._one(self.tasks, ident)
        self._advance(task)
        return 200, task

    @_route("POST", "tasks/([^/]+)/cancel/")
    def task_cancel(self, request: Request, ident: str) -> tuple[int, Any]:
        task = self._one(self.tasks, ident)
        task["state"] = "cancelled"
        return 202, task

    @_route("GET", "tasks/([^/]+)/trace/")
    def task_trace(self, request: Request, ident: str) -> tuple[int, Any]:
        self._one(self.tasks, ident)
        return 200, {"events": [{"at": "2026-01-01T00:00:00Z", "host": "clc-00000001", "role": "clc", "what": "asked", "fields": {"n": 1}}]}

    @_route("POST", "users/")
    def user_new(self, request: Request) -> tuple[int, Any]:
        name = request.form["username"]
        if name in self.users:
            raise Refused("exists", f"The account {name} exists already")
        self.users[name] = request.form
        return 201, {"id": 7, "username": name, "role": request.form["role"]}

    @_route("POST", "users/me/password/")
    def user_password(self, request: Request) -> tuple[int, Any]:
        if request.form["current_password"] != self.password:
            raise Refused("invalid", "The current password is wrong")
        self.users["me"] = {"password": request.form["password"]}
        self.password = request.form["password"]
        self.tokens.clear()
        return 204, Raw(b"", status=204)


def void(_: Any) -> None:
    """Take an answer nobody wants."""


class Line(httpx.BaseTransport):
    """The way to the fake cloud, which can be cut. ``cuts`` decides per request: ``before`` it arrives, ``after`` (the answer is lost), or nothing."""

    def __init__(self, cloud: FakeCloud) -> None:
        self._inner = httpx.WSGITransport(app=cloud)
        self.cuts: Callable[[httpx.Request], str] = lambda _request: ""
        self.tries: list[httpx.Request] = []

    def instead(self, status: int, kind: str, *bodies: bytes, location: str = "") -> None:
        """From now on somebody else answers, with these bodies in turn and then the last again."""
        left = list(bodies)

        def stranger(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            start(f"{status} X", [("Content-Type", kind), ("Location", location)])
            return [left.pop(0) if len(left) > 1 else left[0]]

        self._inner = httpx.WSGITransport(app=stranger)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.tries.append(request)
        where = self.cuts(request)
        if where == "before":
            raise httpx.ConnectError("connection refused", request=request)
        answer = self._inner.handle_request(request)
        if where == "after":
            answer.close()
            raise httpx.ReadError("connection reset", request=request)
        return answer
