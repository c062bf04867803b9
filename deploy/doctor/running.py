"""Whether what is set up here runs: pure judgements of what the probes found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploy.doctor.finding import Finding, fail, ok, warn

_DAY_S = 86400.0
_LOW_DAYS = 30
_BEATS_LATE_S = 20.0
START = "Run `make up`: it starts what does not run."


def config(role: str, file: str, trouble: str) -> Finding:
    """A role's configuration."""
    if trouble:
        return fail(role, f"The configuration {file} is not valid", trouble, "Correct the named field; docs/settings.md lists all.")
    return ok(role, f"configured by {file}")


def ports(strangers: Sequence[str], *, is_root: bool) -> Finding:
    """Ports of this cloud that somebody else holds."""
    if not strangers:
        return ok("ports", "free, or ours")
    if not is_root:
        return warn("ports", "Ports are taken", "; ".join(strangers), "Run it as root to see by whom.")
    return fail("ports", "Ports of this cloud are taken by somebody else", "; ".join(strangers),
                "Stop that program, or choose other ports by EDUCLOUD_PORT_BASE.")


def supervisor(states: Mapping[str, str] | None, logs: Mapping[str, str]) -> list[Finding]:
    """The supervisor and its programs; ``states`` None: it does not answer. ``logs``: where each program writes."""
    if states is None:
        return [fail("supervisor", "The supervisor does not answer", "the cloud of this machine is down, or its supervisor was killed", START)]
    found = [ok("supervisor", "answers")]
    for program, state in states.items():
        log = logs.get(program, "")
        if state == "RUNNING":
            found.append(ok(program, "runs"))
        elif state in ("STARTING", "BACKOFF"):
            found.append(warn(program, f"is {state.lower()}", "it was started a moment ago, or ends again and again", f"Look at {log}."))
        else:
            found.append(fail(program, "does not run", f"the supervisor says {state.lower()}", f"{START} Its log is {log}."))
    return found


def service(name: str, where: str, trouble: str, start: str = START) -> Finding:
    """Something that must answer at ``where``; ``trouble`` is empty when it does. ``start``: how it is started here."""
    if not trouble:
        return ok(name, f"answers at {where}")
    return fail(name, f"{name} does not answer at {where}", trouble, start)


def door(name: str, where: str, status: int, reasons: Sequence[str], start: str = START) -> Finding:
    """The /readyz of a role's own web service; status 0: it does not answer, and the reason stands in ``reasons``."""
    if status == 200:
        return ok(name, f"ready at {where}")
    why = "; ".join(reasons) or f"HTTP {status}"
    if status == 503:
        return fail(name, f"{name} runs and is not ready", why, "Mend what it names; it goes on by itself.")
    return fail(name, f"The door of {name} does not answer at {where}", why, start)


def joined(role: str, *, host: str, has_token: bool, token_file: str) -> Finding:
    """Whether an acting role was admitted; ``host`` is its id, empty before."""
    if host:
        return ok(role, f"joined as {host}")
    if has_token:
        return warn(role, "has not joined yet", "it has a token and its boss has not answered", "Wait, or look at its log and at `educloud host list`.")
    return fail(role, "has not joined", f"there is no join token in {token_file or 'its configuration'}",
                f"Make one: educloud host token --role {role}; put it into that file.")


def machine(role: str, why: str, step: str) -> list[Finding]:
    """Whether a role's identity is of this machine; ``why`` it is another's, empty when it may be this one's."""
    return [fail(role, "Its identity belongs to another machine", why, step)] if why else []


def certificate(role: str, file: str, begins_s: float, ends_s: float, now_s: float) -> Finding:
    """How long the certificate of a role's doors is valid; times in seconds since 1970. Its other one, for signatures, has no end that anybody asks for."""
    days = int((ends_s - now_s) // _DAY_S)
    if role == "clc":
        step = f"Remove {file}, then `make down` and `make up`: a new one is made."
    else:
        step = f"`educloud host remove` it once nothing runs on it and no host is below it, and have {role} join anew."
    if now_s < begins_s:
        return fail(role, "The certificate of its doors is not valid yet", "it begins later than this clock shows", "Set the clock of this machine.")
    if now_s >= ends_s:
        return fail(role, "The certificate of its doors has expired", f"{-days} days ago; nobody connects to them", step)
    if days < _LOW_DAYS:
        return warn(role, f"the certificate of its doors ends in {days} days", "afterwards nobody connects to them", step)
    return ok(role, f"the certificate of its doors is valid for {days} days")


def heartbeats(hosts: Sequence[Mapping[str, object]], *, is_board_up: bool = True) -> list[Finding]:
    """Ages of heartbeats, from the API's list of hosts; without the board only what is written down now and then is known."""
    found = []
    for host in hosts:
        name, state, age_s = f"{host.get('role')} {host.get('name')}", str(host.get("state")), host.get("last_heartbeat_age_s")
        heard = f"last heard {age_s} s ago" if age_s is not None else "never heard"
        if state == "new":
            found.append(warn("heartbeat", f"{name} waits for approval", heard, f"educloud host approve {host.get('id')}"))
        elif state in ("silent", "down") or age_s is None:
            found.append(fail("heartbeat", f"{name} is {state}", heard, "Start that host or its role; run `make doctor` there."))
        elif isinstance(age_s, int | float) and age_s > _BEATS_LATE_S and is_board_up:
            found.append(warn("heartbeat", f"{name} is late", heard, "Look at the load of that host and of the broker."))
        else:
            found.append(ok("heartbeat", f"{name}: {heard}"))
    return found
