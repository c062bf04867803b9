"""A host that is part of a cloud elsewhere: let one role join it, and bring up what has joined."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.host import addresses, boot, firsts, ground, memberships, up
from deploy.host.firsts import phase
from deploy.host.plan import ACTING, LOOPBACK, REACHED, Choices, Plan
from deploy.host.supervision import Supervision, tail
from luhyaapi import clock
from luhyaapi.errors import Failed, Refused, Unavailable

_JOIN_PATIENCE_S = 600.0
_UP_PATIENCE_S = 60.0
_NO_BOSS = "not connected to"
"""How a door says that its boss is away."""
_USAGE = "make join ROLE=nc BOSS=ADDRESS TOKEN=... (or TOKEN_FILE=...)"


def chosen(plan: Plan, environ: Mapping[str, str]) -> Choices:
    """The choices of this host with one more role. Raises Refused(invalid | state)."""
    role, boss = environ.get("ROLE", ""), environ.get("BOSS", "")
    if role not in ACTING:
        raise Refused("invalid", f"ROLE={role} cannot join", f"roles are {', '.join(ACTING)}", hint=_USAGE)
    kept = plan.choices
    if not kept.bosses and plan.config("clc").exists():
        raise Refused("state", f"{plan.home} holds a whole cloud", "its five roles run here already",
                      hint="Another cloud's role needs a folder of its own: EDUCLOUD_HOME and EDUCLOUD_PORT_BASE.")
    if not boss and role not in kept.bosses:
        raise Refused("invalid", "BOSS is missing", "the address of the boss: the CLC for walrus and cc, the CC for nc and sc", hint=_USAGE)
    door = addresses.boss_door(role, boss, plan.ports) if boss else kept.bosses[role]
    made = addresses.listening(environ.get("LISTEN", ""), dataclasses.replace(kept, bosses={**kept.bosses, role: door}))
    if made.listen == LOOPBACK and door.startswith("https:"):
        address = addresses.outward(addresses.boss_host(door))
        made = dataclasses.replace(made, address=address, listen=address if role in REACHED else made.listen)
    return made


def join(plan: Plan, environ: Mapping[str, str]) -> None:
    """Let the role ROLE join; back when it is up. Raises Unavailable(timeout) while an administrator has not approved it."""
    role = environ["ROLE"]
    supervision = up.begin(plan)
    token = _token(environ)
    if token:
        ground.write(plan.join_token(role), token + "\n", ground.owner(plan.user(role)))
    up.start_services(plan, supervision)
    for each in running(plan, role):
        _start(plan, supervision, each)
    with phase(f"{role} joined"):
        _until_joined(plan, supervision, role)
    up_joined(plan, environ)


def running(plan: Plan, role: str) -> list[str]:
    """What runs while ``role`` joins: itself, and what joined before, for a new role stops the supervisor, and its boss may be here too."""
    return [each for each in plan.roles if each == role or plan.certificate(each).exists()]


def up_joined(plan: Plan, environ: Mapping[str, str]) -> None:
    """What has joined from this host runs. A boss that is away is waited for by the roles themselves."""
    moved = memberships.moved(plan, Choices.kept(plan.choices_file))
    # A cluster's broker speaks TLS from when the cluster has its certificate.
    supervision = up.begin(plan)
    up.start_services(plan, supervision)
    for role in plan.roles:
        _start(plan, supervision, role)
    waits = {}
    for role in plan.roles:
        with phase(f"{role} up"):
            waits[role] = _until_ready(plan, supervision, role)
    boot.install(plan, environ)
    if moved:
        print(f"notice          {moved}")
    for role in plan.roles:
        print(f"{role:<15} runs for {plan.boss_door(role)}, log {plan.log(role)}")
        if waits[role]:
            print(f"notice          {role} is {waits[role]}. It goes on trying; where its boss has moved: make join ROLE={role} BOSS=ADDRESS")


def _start(plan: Plan, supervision: Supervision, role: str) -> None:
    if role == "nc":
        firsts.build(plan, "none")
    if role == "cc" and up.unsettled(plan, "cc"):
        supervision.stop(role)
        up.as_role(plan, "cc", "migrate")
    supervision.start(role)


def _token(environ: Mapping[str, str]) -> str:
    named = environ.get("TOKEN_FILE", "")
    if not named:
        return environ.get("TOKEN", "").strip()
    try:
        return Path(named).read_text("utf-8").strip()
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"TOKEN_FILE={named} cannot be read", str(e)) from e


def _until_joined(plan: Plan, supervision: Supervision, role: str) -> None:
    until, told = clock.monotonic() + _JOIN_PATIENCE_S, ""
    while not plan.certificate(role).exists():
        _must_run(plan, supervision, role)
        why = _last_reason(plan.log(role))
        if why != told:
            print(f"joining: {why}", file=sys.stderr, flush=True)
            told = why
        if clock.monotonic() > until:
            raise Unavailable("timeout", f"{role} has not joined after {_JOIN_PATIENCE_S:.0f} s", told,
                              hint="It goes on asking by itself. Approve it (educloud host approve), then `make up` here.")
        clock.sleep(0.5)


def _last_reason(log: Path) -> str:
    """Why joining waits, from the role's log."""
    for line in reversed(tail(log, 20).splitlines()):
        with contextlib.suppress(ValueError, AttributeError):
            said = json.loads(line)
            if said.get("event") == "joining":
                return str(said.get("why"))
    return "asks its boss"


def _must_run(plan: Plan, supervision: Supervision, role: str) -> None:
    program = plan.programs_of(role)[0]
    if supervision.states()[program] in ("BACKOFF", "FATAL", "EXITED"):
        supervision.stop(program)
        raise Failed("program", f"{role} cannot join", tail(plan.log(role)))


def _until_ready(plan: Plan, supervision: Supervision, role: str, patience_s: float = _UP_PATIENCE_S) -> str:
    """Wait for a role; why it goes on waiting for its boss, which may be away for longer; empty: it is up. Raises Failed."""
    until = clock.monotonic() + patience_s
    while True:
        _must_run(plan, supervision, role)
        # The proof needs no boss, and guests that stay here need what was proved.
        up.open_kvm(plan, supervision)
        why = up.not_ready(plan, role)
        if not why:
            return ""
        if clock.monotonic() > until:
            break
        clock.sleep(0.5)
    if all(reason.startswith(_NO_BOSS) for reason in why):
        return "; ".join(why)
    raise Failed("timeout", f"{role} is not up after {patience_s:.0f} s", f"{'; '.join(why)}\n{tail(plan.log(role))}")
