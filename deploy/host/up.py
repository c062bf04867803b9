"""Bring the cloud up: each phase finds what is done already and does the rest."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from deploy.host import account, boot, checks, console, enclose, firsts, ground, memberships, tools, unpack
from deploy.host.firsts import phase
from deploy.host.plan import LOOPBACK, REACHED, ROLES, Choices, Plan, bracketed
from deploy.host.supervision import Supervision, last_words, tail
from luhyaapi import clock, process
from luhyaapi.contracts.vocabulary import Accelerator
from luhyaapi.errors import Failed, Trouble
from luhyaapi.wire import identity, tls

SIMULATION = "simulation: no machine really runs"
_BROKER_PATIENCE_S = 60.0
_LIBVIRT_ASKED_S, _LIBVIRT_PATIENCE_S = 45.0, 60.0
_ROLES_PATIENCE_S = 120.0


def services_up(plan: Plan) -> Supervision:
    """The services this host's roles need run and answer; also the part of ``up`` that needs no role: one whose files changed stops."""
    supervision = begin(plan)
    start_services(plan, supervision)
    return supervision


def begin(plan: Plan) -> Supervision:
    """Everything on disk, and the supervisor with what it now has to run."""
    if plan.profile.is_unpacked:
        with phase("Debian packages"):
            unpack.provide(plan, os.environ)
            unpack.bind_python(plan)
    with phase("folders, secrets, configuration"):
        checks.preconditions(plan)
        changed = memberships.follow(plan, Choices.kept(plan.choices_file))
        changed |= ground.prepare(plan)
        if plan.profile.is_unpacked:
            unpack.share_libvirt(plan)
        if plan.secured and "clc" in plan.roles:
            as_role(plan, "clc", "certify")
            changed |= ground.prepare(plan)
        if "clc" in plan.roles:
            changed |= memberships.renew(plan, as_role)
    supervision = Supervision(plan)
    with phase("supervisor"):
        _supervise(plan, supervision, changed)
    return supervision


def start_services(plan: Plan, supervision: Supervision) -> None:
    """Those of broker, cache and libvirt that this host's roles need, answering."""
    with phase(f"services: {', '.join(plan.services) or 'none needed'}"):
        for name in plan.services:
            supervision.start(name)
        # First, since its first answer is slow (it asks QEMU what it can do) and the broker starts beside it.
        if "libvirtd" in plan.services:
            _until_libvirt(plan, supervision)
        if "broker" in plan.services:
            _until(lambda: _listens(plan.ports["amqp"]), _BROKER_PATIENCE_S, "The broker did not start", lambda: last_words(plan, "broker"))
            _until(lambda: _listens(plan.ports["management"]), 20, "The broker's management did not start", lambda: last_words(plan, "broker"))
        if "board" in plan.services:
            _until(lambda: _listens(plan.ports["memcached"]), 10, "The cache did not start", lambda: last_words(plan, "board"))


def _supervise(plan: Plan, supervision: Supervision, changed: set[str]) -> None:
    if supervision.answers() and "supervisor" in changed:
        supervision.shutdown()
    if not supervision.answers():
        # What a dead supervisor left still answers: were it not ended first, a start would take it for its successor.
        with ThreadPoolExecutor(len(plan.programs)) as beside:
            list(beside.map(lambda program: enclose.end_left(str(plan.home), program, ["epmd"]), plan.programs))
        supervision.launch()
        return
    running = {name for name, state in supervision.states().items() if state in ("RUNNING", "STARTING", "BACKOFF")}
    stale = running & (changed | ground.written_since(plan, supervision.started()))
    with ThreadPoolExecutor(len(stale) or 1) as beside:
        # A role starts later, when its database is as its program wants it.
        list(beside.map(lambda name: supervision.stop(name) if name in plan.role_programs else supervision.restart(name), sorted(stale)))


def up(plan: Plan, environ: Mapping[str, str]) -> None:
    """The whole cloud runs, the administrator and the first image exist. Raises a Trouble that says what is missing."""
    began = clock.monotonic()
    who = account.caller(environ)
    wanted = plan.choices.demo or "all"
    moved = memberships.moved(plan, Choices.kept(plan.choices_file))
    supervision = begin(plan)
    with ThreadPoolExecutor(3) as beside:
        settled = beside.submit(_settle, plan, supervision, beside)
        guests = beside.submit(firsts.build, plan, wanted)
        start_services(plan, supervision)
        with phase("waited for databases, administrator, join tokens"):
            settled.result()
    with phase("waited for the first guests' build"):
        guests.result()
    with phase("roles started"):
        for program in plan.role_programs:
            supervision.start(program)
    with phase("client context"):
        if not account.has_entry(plan, who):
            _client_context(plan, who)
    with phase("roles up"):
        _until_roles_up(plan, supervision, who)
    boot.install(plan, environ)
    firsts.provide(plan, wanted, lambda *words, timeout_s, check=True: client(plan, who, *words, timeout_s=timeout_s, check=check), who.home)
    print(f"{clock.monotonic() - began:7.2f} s  in all", file=sys.stderr, flush=True)
    if plan.profile.is_simulated:
        print(f"notice          {SIMULATION}")
    there = console.of(plan)
    print(f"console         {there.url}/")
    if plan.secured and not there.own:
        print(f"authority       {plan.certified / identity.AUTHORITY_FILE} (browsers and clients elsewhere are told to trust it)")
    if moved:
        print(f"notice          {moved}")
    print("administrator   admin")
    print(f"password file   {plan.admin_password}")


def as_role(plan: Plan, role: str, *words: str, stdin: bytes = b"", timeout_s: float = 120.0) -> str:
    """Run ``python -m deploy.admin ...`` with a role's account and configuration; its standard output."""
    program = plan.programs_of(role)[0]
    enclosed: list[str | Path] = [plan.python, "-m", "deploy.host.enclose", plan.supervisor / f"{program}.json", "--"]
    return process.run([*enclosed, plan.python, "-m", "deploy.admin", *words], timeout_s=timeout_s, cwd=plan.program, stdin=stdin).text


def _settle(plan: Plan, supervision: Supervision, beside: Executor) -> None:
    is_apart = "cc" in plan.roles and plan.programs_of("cc") != plan.programs_of("clc")
    cluster = beside.submit(unsettled, plan, "cc") if is_apart else None
    if unsettled(plan, "clc") | bool(cluster and cluster.result()):
        # A schema changes under nobody: what runs on the old one stops first.
        for program in plan.role_programs:
            supervision.stop(program)
        migrated = beside.submit(as_role, plan, "cc", "migrate") if is_apart else None
        as_role(plan, "clc", "migrate")
        as_role(plan, "clc", "create-admin", "--password-file", str(plan.admin_password))
        if migrated:
            migrated.result()
    for role in ground.join_tokens_missing(plan):
        token = as_role(plan, "clc", "join-token", "--role", role).strip().splitlines()[-1]
        ground.write(plan.join_token(role), token + "\n", ground.owner(plan.user(role)))


def unsettled(plan: Plan, role: str) -> bool:
    """Whether a boss's database lacks what this version needs. It is asked itself: another one may have taken its place."""
    return not plan.certificate(role).exists() or bool(as_role(plan, role, "unsettled").strip())


def _client_context(plan: Plan, who: account.Caller) -> None:
    file = plan.home / "clc" / "client-context.toml"
    file.unlink(missing_ok=True)
    as_role(plan, "clc", "client-context", "--file", str(file))
    account.put_entry(plan, who, file)
    file.unlink()


def client(plan: Plan, who: account.Caller, *words: str, timeout_s: float, check: bool = True) -> process.Finished:
    """One call of the command line client as the calling user's context has it."""
    return process.run(
        [plan.python.with_name("educloud"), "--context", plan.context, *words],
        timeout_s=timeout_s, env={"HOME": str(who.home), "EDUCLOUD_HOME": str(plan.home), **unpack.apt_environ(plan)}, check=check,
    )


def roles_seen(document: Any) -> dict[str, str]:
    """Role to state, from the client's status document: every object with a role and a state; ``up`` wins."""
    found: dict[str, str] = {}
    if isinstance(document, dict):
        role, state = document.get("role"), document.get("state") or document.get("status")
        if role in ROLES and isinstance(state, str):
            found[role] = state
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            for role, state in roles_seen(part).items():
                if found.get(role) != "up":
                    found[role] = state
    return found


def node_ready(document: Any) -> bool:
    """Whether some node knows how it runs guests, from the client's status document."""
    hosts = document.get("hosts", []) if isinstance(document, dict) else []
    nodes = [host.get("facts") or {} for host in hosts if host.get("role") == "nc"]
    return any(facts.get("accelerator", Accelerator.UNPROVED) != Accelerator.UNPROVED for facts in nodes)


def broker_heard(document: Any) -> bool:
    """Whether the cloud reaches its broker, from the client's status document."""
    parts = document.get("parts", []) if isinstance(document, dict) else []
    return all(part.get("health") == "ok" for part in parts if part.get("name") == "broker")


def _until_roles_up(plan: Plan, supervision: Supervision, who: account.Caller) -> None:
    until = clock.monotonic() + _ROLES_PATIENCE_S
    last, is_renewed = "", False
    while True:
        seen: dict[str, str] = {}
        try:
            answer = client(plan, who, "status", "--json", timeout_s=20, check=False)
            last = answer.stderr.decode("utf-8", "replace").strip()
            if "code: unauthenticated" in last and not is_renewed:
                is_renewed = True
                _client_context(plan, who)  # its sign-in has ended, as each does
                continue
            seen = roles_seen(json.loads(answer.text)) if answer.text.strip() else {}
            if "nc" in plan.roles and not node_ready(json.loads(answer.text or "null")):
                seen |= {"nc": "proving how it can run guests"}
            if not broker_heard(json.loads(answer.text or "null")):
                seen |= {"clc": "not at the broker yet"}
        except (Trouble, ValueError) as e:
            last = str(e)
        open_kvm(plan, supervision)
        missing = [role for role in plan.roles if seen.get(role) != "up"]
        if not missing:
            return
        if clock.monotonic() > until:
            raise Failed("timeout", f"Not up after {_ROLES_PATIENCE_S:.0f} s: {', '.join(missing)}", _explain(plan, missing, seen, last),
                         hint=console.hint(plan))
        clock.sleep(0.5)


def _explain(plan: Plan, missing: list[str], seen: dict[str, str], last: str) -> str:
    parts = [last] if last else []
    for role in missing:
        for program in plan.programs_of(role):
            log = plan.log(program)
            parts.append(f"--- {role} is {seen.get(role, 'unknown')}; the end of {log}:\n{tail(log)}")
    return "\n".join(parts)


def open_kvm(plan: Plan, supervision: Supervision) -> None:
    """Let libvirt see /dev/kvm once the node proved it, which happens after libvirt's first start. Guests stay."""
    if "libvirtd" not in plan.services or not enclose.proved(plan.accelerator_verdict):
        return
    if not plan.profile.is_roots:
        return  # it sees what its user may open
    try:
        mounts = Path(f"/proc/{supervision.pid('libvirtd')}/mounts").read_text("utf-8")
    except OSError:
        return  # about to start: it looks for the proof itself
    if " /dev/kvm " in mounts:
        with phase("libvirt opened to the proved accelerator"):
            supervision.restart("libvirtd")
            _until_libvirt(plan, supervision)


def not_ready(plan: Plan, role: str) -> list[str]:
    """Why a role of this host is not ready, by its own door; nothing: it is."""
    reached = plan.secured and role in REACHED
    folder = plan.home / role / "identity"
    trusted = tls.trust(folder, identity.role_name(role)) if reached else None
    where = bracketed(plan.choices.address) if reached else LOOPBACK
    try:
        with tls.http(trusted) as client:
            url = f"http{'s' if reached else ''}://{where}:{plan.ports[f'{role}_door']}/readyz"
            form = client.get(url, timeout=5, extensions=tls.asking(trusted)).json()
        return [] if form.get("ready") else [*map(str, form.get("reasons", []))] or ["not ready"]
    except (httpx.HTTPError, OSError, ValueError) as e:
        return [f"its door does not answer: {e}"]


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _until_libvirt(plan: Plan, supervision: Supervision) -> None:
    """Wait for it; one that runs and answers nobody is started again, once: its guests stay."""
    try:
        _until(lambda: _libvirt_answers(plan), _LIBVIRT_PATIENCE_S, "libvirt did not start", lambda: last_words(plan, "libvirtd"))
    except Failed:
        with phase("libvirt started again, for it did not answer"):
            supervision.restart("libvirtd")
            _until(lambda: _libvirt_answers(plan), _LIBVIRT_PATIENCE_S, "libvirt did not start", lambda: last_words(plan, "libvirtd"))


def _libvirt_answers(plan: Plan) -> bool:
    if not Path(plan.libvirt_uri.split("=", 1)[1]).exists():
        return False
    try:
        return bool(process.run([*tools.virsh(plan), "domcapabilities", "--virttype", "qemu"], timeout_s=_LIBVIRT_ASKED_S, env=tools.environ(plan)).text)
    except Trouble:
        return False


def _until(true: Callable[[], bool], patience_s: float, what: str, why: Callable[[], str]) -> None:
    until = clock.monotonic() + patience_s
    while not true():
        if clock.monotonic() > until:
            raise Failed("timeout", what, why())
        clock.sleep(0.1)
