"""The CLC's door for its children: joining. Walrus and the CCs knock here; the console is another door."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from clc.services import hosts, mandates, origins
from luhyaapi.agent import Agent
from luhyaapi.contracts.reports import JoinAsked
from luhyaapi.contracts.vocabulary import HostState, Role, Via
from luhyaapi.errors import Refused
from luhyaapi.wire import tls
from luhyaapi.wire.http import Answer, Door, Request, json_answer, json_route, route
from luhyadb import memory

_FIELDS = {"request", "role", "name", "csr", "token", "address", "tls"}
_NO_TOKEN = hashlib.sha256(b"").hexdigest()
_REQUEST = re.compile(r"[A-Za-z0-9_-]{20,64}")


def make(agent: Agent) -> Door:
    """The door, not yet open."""
    host = agent.settings.host

    def ask(form: Any, request: Request) -> Any:
        report = asked(form, request.remote)
        with agent.memory(), origins.of(origins.Origin(Via.HOST, request.remote)), memory.atomic():
            mandates.check_asker(report, agent.me)
            host = hosts.join_asked(report, agent.me)
        return {"state": str(host.state)}

    def fetch(request: Request) -> Answer:
        assert agent.down is not None  # noqa: S101 - a boss has a link down
        with agent.memory():
            form = hosts.membership(request.params["request"], agent.down)
        return json_answer({"state": HostState.NEW}, 202) if form is None else json_answer(form)

    return Door("clc", host.listen, host.door_port, [
        route("GET", "/clc/api/1.0/authority/?", lambda _request: json_answer({"authority": agent.membership.authority})),
        json_route("/clc/api/1.0/join/?", ask),
        route("GET", "/clc/api/1.0/join/(?P<request>[A-Za-z0-9_-]{20,64})/?", fetch),
    ], ready=lambda: [] if agent.down and agent.down.is_connected() else ["the broker does not answer"],
       secured=tls.doors(host))


def asked(form: Any, remote: str) -> JoinAsked:
    """A request to join as a report. Raises Refused(invalid)."""
    if not isinstance(form, dict) or not _REQUEST.fullmatch(str(form.get("request", ""))):
        raise Refused("invalid", "The request to join cannot be read", "it needs request, role, name, csr and token")
    if unknown := set(form) - _FIELDS:
        raise Refused("invalid", "The request to join cannot be read", f"there is no field {min(unknown)[:40]!r}")
    token = str(form.get("token", ""))
    try:
        return JoinAsked(
            request=str(form["request"]), role=Role(str(form.get("role"))), name=str(form.get("name")),
            csr=str(form.get("csr")), tls=str(form.get("tls") or ""), proof=hosts.proof_of(token) if token else _NO_TOKEN,
            address=str(form.get("address") or remote)[:100],
        )
    except ValueError as e:
        raise Refused("invalid", "The request to join cannot be read", str(e)[:200]) from e
