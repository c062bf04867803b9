"""The judge: reads a history and nothing else, knows nothing of how it came about, and says what may not be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from luhyaapi.contracts.vocabulary import InstanceState, TaskState
from tests.simulator import image_rules

Record = dict[str, Any]
COOLDOWN_S = 60.0
CANCEL_WITHIN_S = 15.0
FINAL = {str(TaskState.DONE), str(TaskState.FAILED), str(TaskState.CANCELLED)}
STABLE = {str(s) for s in (InstanceState.RUNNING, InstanceState.STOPPED, InstanceState.FAILED, InstanceState.DELETED, InstanceState.DEFINED)}
NEVER = {"bug", "forged", "unsigned", "misaddressed", "invalid", "conflict", "unsupported", "program", "missing", "unauthenticated", "forbidden"}
"""Codes no task may end with, whatever the faults were: they would be faults of ours."""
BEHIND = {"guest_started", "guest_ends", "guest_dies"}


def check(history: list[Record]) -> list[str]:
    """Every violation of a whole history, in words."""
    found = [v for rule in RULES for v in rule(history)]
    last = history[-1] if history else {}
    if last.get("what") != "rest":
        found.append(f"the run has no end: {last.get('why', last.get('what'))}")
    else:
        found += at_rest(history, last["picture"])
    return found


def at_rest(history: list[Record], picture: dict[str, Any]) -> list[str]:
    """What the last picture says that may not be, now that everything is healed and nothing moves."""
    return [v for rule in REST for v in rule(history, picture)]


# ---- rules of the whole history


def one_place(history: list[Record]) -> Iterator[str]:
    """No instance is active on two nodes at any time."""
    active: dict[str, str] = {}
    for r in _effects(history):
        if r["effect"] == "running":
            other = active.get(r["instance"])
            if other and other != r["who"]:
                yield f"{r['instance']} runs on {r['who']} and on {other} since record {r['n']}"
            active[r["instance"]] = r["who"]
        elif r["effect"] != "defined" and active.get(r["instance"]) == r["who"]:
            del active[r["instance"]]


def nothing_lent_twice(history: list[Record]) -> Iterator[str]:
    """No MAC, address or port belongs to two domains, at any time."""
    holder: dict[tuple[str, object], tuple[str, str]] = {}
    mine: dict[tuple[str, str], list[tuple[str, object]]] = {}
    for r in _effects(history):
        place = r["instance"], r["who"]
        if r["effect"] == "removed":
            for thing in mine.pop(place, ()):
                if holder.get(thing) == place:
                    del holder[thing]
        if r["effect"] not in ("defined", "running"):
            continue
        things: list[tuple[str, object]] = [("port", r["port"])] if r["port"] else []
        things += [pair for mac, ip in r["nics"] for pair in (("mac", mac), ("ip", ip))]
        for thing in things:
            other = holder.get(thing)
            if other and other[0] != r["instance"]:
                yield f"{thing[0]} {thing[1]} of {r['instance']} on {r['who']} is that of {other[0]} on {other[1]}, record {r['n']}"
            holder[thing] = place
        mine[place] = things


def lent_things_rest(history: list[Record]) -> Iterator[str]:
    """An address is not given to another owner before it has rested. A copy from before it was lent does not know that it was."""
    if any(r["who"] == "fault" and r["what"].startswith(("clock", "older_copy")) for r in history):
        return
    freed: dict[str, tuple[float, str]] = {}
    for r in _effects(history):
        for _, ip in r["nics"]:
            if r["effect"] == "removed":
                freed[ip] = r["t"], r["instance"]
            elif r["effect"] == "defined" and ip in freed:
                at, before = freed.pop(ip)
                if before != r["instance"] and r["t"] - at < COOLDOWN_S - 0.01:
                    yield f"{ip} was taken from {before} {r['t'] - at:.0f} s before {r['instance']} got it, record {r['n']}"


def once(history: list[Record]) -> Iterator[str]:
    """No order has its effect again after another order had one on the same instance."""
    first: dict[tuple[str, str], int] = {}
    last: dict[str, str] = {}
    for r in _effects(history):
        order, instance = r["order"], r["instance"]
        if not order or r["effect"] not in ("running", "removed", "stopped", "defined"):
            continue
        if (order, instance) in first and last.get(instance) != order:
            yield f"{order} had an effect on {instance} again at record {r['n']}, after {last[instance]}"
        first.setdefault((order, instance), r["n"])
        last[instance] = order


def the_dead_stay_dead(history: list[Record]) -> Iterator[str]:
    """A deleted instance never comes back."""
    deleting = {t for r in _asked(history, "delete") for t in r["answer"]["tasks"]}
    dead: dict[str, str] = {}
    behind = _behind(history)
    for r in _effects(history):
        task = r["order"].split("#")[0]
        if r["effect"] == "removed" and task in deleting:
            dead[r["instance"]] = task
        elif r["effect"] in ("running", "defined") and r["instance"] in dead and r["instance"] not in behind:
            yield f"{r['instance']} is {r['effect']} again at record {r['n']} by {r['order'] or 'nobody'}, after {dead[r['instance']]} deleted it"


def nobody_stumbles(history: list[Record]) -> Iterator[str]:
    """No loop and no request falls over what is no trouble of the world."""
    for r in history:
        if r["what"] == "stumbled" and not r["full"]:
            yield f"{r['who']} stumbled at record {r['n']}: {r['why']}"
        if r["what"] == "asked" and "stumbled" in r["answer"] and not r["answer"]["full"]:
            yield f"a client's {r['verb']} fell over {r['answer']['stumbled']} at record {r['n']}"


def taken_in_the_end(history: list[Record]) -> Iterator[str]:
    """What somebody could not take, or died over, comes again."""
    if any(r["who"] == "fault" and r["what"] == "broker_lost" for r in history):
        return
    owed: dict[tuple[str, str], int] = {}
    for r in history:
        if r["what"] == "not taken":
            owed[r["who"], r["id"]] = r["n"]
        elif r["what"] == "got":
            owed.pop((r["who"], r.get("id", "")), None)
    gone = {r["host"] for r in history if r["what"] == "asked" and r["verb"] == "remove" and r["answer"].get("accepted")}
    for (who, message), n in owed.items():
        if who not in gone:
            yield f"{message} did not come again after {who} could not take it at record {n}"


def done_is_done(history: list[Record]) -> Iterator[str]:
    """No task is done before its Outcome came, but such as nobody had to be told of."""
    told: set[str] = set()
    lies = {r["about"]["id"] for r in history if r["who"] == "fault" and r["what"] == "lie"}
    for r in history:
        if r["what"] == "got" and r["who"] == "clc" and r["kind"] == "outcome" and r["id"] not in lies:
            told.add(r["subject"].split("#")[0])
        elif r["what"] == "task" and r["state"] == "done" and r.get("receiver", "cc") and r["task"] not in told:
            yield f"task {r['task']} is done at record {r['n']}, and no outcome came"


def who_was_run_ran(history: list[Record]) -> Iterator[str]:
    """No first run is done before its guest was seen to run."""
    first = {task: one for r in _asked(history) if r["verb"] == "run"
             for one, task in zip(r["answer"].get("instances", ()), r["answer"].get("tasks", ()), strict=False)}
    ran = set()
    for r in history:
        if r["what"] == "effect" and r["effect"] == "running":
            ran.add(r["instance"])
        elif r["what"] == "task" and r["state"] == "done" and first.get(r["task"], "") not in ran | {""}:
            yield f"task {r['task']} is done at record {r['n']}, and {first[r['task']]} never ran"


def final_is_final(history: list[Record]) -> Iterator[str]:
    """How a task ended does not change."""
    ended: dict[str, str] = {}
    for r in history:
        if r["what"] != "task":
            continue
        if r["task"] in ended:
            yield f"task {r['task']} was {ended[r['task']]} and is {r['state']} since record {r['n']}"
        if r["state"] in FINAL:
            ended[r["task"]] = r["state"]


def in_order(history: list[Record]) -> Iterator[str]:
    """An order has no effect any more once a later one on its instance is done; what takes it back may."""
    place: dict[str, tuple[str, int]] = {}
    for r in _asked(history):
        owners = r["answer"].get("instances", ())
        place |= {task: (one, r["n"]) for one, task in zip(owners, r["answer"].get("tasks", ()), strict=False)}
    newest: dict[str, tuple[int, str]] = {}
    for r in history:
        task = r["task"] if r["what"] == "task" else r["order"].split("#")[0] if r["what"] == "effect" else ""
        if task not in place:
            continue
        instance, asked = place[task]
        after, later = newest.get(instance, (-1, ""))
        if r["what"] == "task" and r["state"] == "done":
            newest[instance] = max((after, later), (asked, task))
        elif r["what"] == "effect" and asked < after and "#undo-" not in r["order"]:
            yield f"{instance} is {r['effect']} at record {r['n']} by {r['order']}, after the later {later} was done"


def the_cancelled_rest(history: list[Record]) -> Iterator[str]:
    """A node that has heard a cancel in time begins nothing more for that task. Where a clock is off, it may be too old for it."""
    heard: dict[tuple[str, str], float] = {}
    off: set[str] = set()
    for r in history:
        if r["who"] == "fault" and r["what"].startswith("clock_"):
            (off.discard if r["what"].endswith(" ends") else off.add)(str(r["about"]).split()[0])
        elif r["what"] == "got" and r.get("kind") == "task/cancel" and r["who"].startswith("nc") and not (r.get("late") or off & {r["who"], "cc"}):
            heard.setdefault((r["who"], r["task"]), r["t"])
        elif r["what"] == "not taken":
            heard.pop((r["who"], r["id"].partition("#")[0]), None)
        elif r["what"] == "effect" and r["effect"] in ("running", "defined") and "#undo-" not in r["order"]:
            at = heard.get((r["who"], r["order"].split("#")[0]))
            if at is not None and r["t"] > at + CANCEL_WITHIN_S:
                yield f"{r['order']} has an effect on {r['instance']} at record {r['n']}, {r['t'] - at:.0f} s after {r['who']} heard its cancel"


def answers_in_order(history: list[Record]) -> Iterator[str]:
    """Once its delete is done, nothing is accepted for an instance."""
    deleting = {t: r["instance"] for r in _asked(history, "delete") for t in r["answer"]["tasks"]}
    deleted: set[str] = set()
    for r in history:
        if r["what"] == "task" and r["state"] == "done" and r["task"] in deleting:
            deleted.add(deleting[r["task"]])
        elif r["what"] == "asked" and r["answer"].get("accepted") and r.get("instance") in deleted:
            yield f"{r['verb']} of {r['instance']} was accepted at record {r['n']} after its delete was done"


RULES: tuple[Callable[[list[Record]], Iterator[str]], ...] = (
    one_place, nothing_lent_twice, lent_things_rest, once, the_dead_stay_dead, nobody_stumbles, taken_in_the_end, done_is_done,
    who_was_run_ran, final_is_final, in_order, the_cancelled_rest, answers_in_order, *image_rules.RULES,
)


# ---- rules of the last picture


def tasks_end(history: list[Record], picture: dict[str, Any]) -> Iterator[str]:  # noqa: C901 - a list of what may not be
    """Every accepted task is there and has ended; one that is lost says so."""
    rows = {t["id"]: t for t in picture["clc"]["task"]}
    for r in _asked(history):
        for task in r["answer"].get("tasks", ()):
            if task not in rows:
                yield f"task {task} of {r['verb']} was accepted at record {r['n']} and is not there"
        for instance in r["answer"].get("instances", ()):
            if instance not in {i["id"] for i in picture["clc"]["instance"]}:
                yield f"{instance} was accepted at record {r['n']} and is not there"
    clocks = any(r["who"] == "fault" and r["what"].startswith("clock") for r in history)
    for task in rows.values():
        code = (task["error"] or {}).get("code", "")
        if task["state"] == "lost" and code == "timeout" and clocks:
            continue
        if task["state"] not in FINAL:
            yield f"task {task['id']} {task['kind']} is {task['state']} at rest"
        elif code in NEVER and not (code == "invalid" and task["kind"] == "image/publish"):
            yield f"task {task['id']} {task['kind']} ended with {code}: {task['error']}"
        elif task["state"] == "failed" and code == "cancelled":
            yield f"task {task['id']} {task['kind']} failed with cancelled"


def steps_end(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """Of a task that ended no step is under way."""
    ended = {t["id"] for t in picture["clc"]["task"] if t["state"] in FINAL}
    for step in picture["clc"]["taskstep"]:
        if step["task_id"] in ended and step["state"] in ("waiting", "running"):
            yield f"task {step['task_id']} has ended and its step {step['name']} is {step['state']}"


def nobody_is_placed_unasked(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """What a cluster has placed, the CLC knows."""
    known = {i["id"] for i in picture["clc"]["instance"]}
    for place in picture["cc"]["placement"]:
        if place["instance"] not in known:
            yield f"{place['instance']} has a place and the CLC does not know it"


def instances_agree(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:  # noqa: C901 - a list of what may not be
    """What the CLC says, what the cluster wants, and what runs, are the same."""
    places = {p["instance"]: p for p in picture["cc"]["placement"]}
    names = picture["hosts"]
    for row in picture["clc"]["instance"]:
        one, place = row["id"], places.get(row["id"])
        found = [(n, d["domains"][one]["state"]) for n, d in picture["nodes"].items() if one in d["domains"]]
        runs = [n for n, state in found if state == "running"]
        if row["state"] not in STABLE:
            yield f"{one} is {row['state']} at rest"
        elif row["state"] == "deleted" and place:
            yield f"{one} is deleted and has a place on {names.get(place['node'])}"
        elif (row["state"] == "running") != bool(runs):
            yield f"{one} is {row['state']}, its domains: {found}"
        if place:
            if (place["wanted"] == "running") != bool(runs):
                yield f"the cluster wants {one} {place['wanted']}, its domains: {found}"
            if any(n != names.get(place["node"]) for n, _ in found):
                yield f"{one} is placed on {names.get(place['node'])} and is on {found}"
            if row["state"] != "deleted" and (row["node"], row["nics"]) != (place["node"], place["spec"]["nics"]):
                yield f"{one} is on {row['node']} with {row['nics']} for the CLC, on {place['node']} with {place['spec']['nics']} for the cluster"
            if names.get(place["node"]) not in picture["nodes"]:
                yield f"{one} is placed on {place['node']}, which is no node any more"
        elif row["nics"] or row["node"]:
            yield f"{one} has no place, and for the CLC it is on {row['node']} with {row['nics']}"


def networks_agree(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """The cluster has the networks that the CLC wants, and no others."""
    wanted = {(n["id"], n["number"]) for n in picture["clc"]["network"] if not n["retired_at"]}
    there = {(n["id"], n["number"]) for n in picture["cc"]["segment"]}
    if wanted != there:
        yield f"the CLC wants the networks {sorted(wanted)}, the cluster has {sorted(there)}"


def leases_agree(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """Who is placed holds the addresses of its cards and one port, nobody else does, and DHCP knows exactly these."""
    placed = sorted(p["instance"] for p in picture["cc"]["placement"])
    cards = sorted(p["instance"] for p in picture["cc"]["placement"] for _ in p["spec"]["nics"])
    leases = [a for a in picture["cc"]["addresslease"] if a["instance"]]
    ports = sorted(p["instance"] for p in picture["cc"]["portlease"] if p["instance"])
    if sorted(a["instance"] for a in leases) != cards:
        yield f"addresses are held by {sorted(a['instance'] for a in leases)}, cards are of {cards}"
    if ports != placed:
        yield f"ports are held by {ports}, placed are {placed}"
    served = sorted([a["instance"], a["mac"], a["ip"]] for a in leases)
    if picture["served"] is not None and picture["served"] != served:
        yield f"DHCP serves {picture['served']}, lent are {served}"


def nothing_is_left(history: list[Record], picture: dict[str, Any]) -> Iterator[str]:  # noqa: C901 - a list of what may not be
    """No domain, folder, tap or pin of an instance without a place; no half file."""
    places = {p["instance"]: picture["hosts"].get(p["node"]) for p in picture["cc"]["placement"]}
    for name, node in picture["nodes"].items():
        for what in ("domains", "wanted", "pins"):
            for one in node[what]:
                if places.get(one) != name:
                    yield f"{what} of {one} is left on {name}, its place is {places.get(one)}"
        for tap, one in node["taps"].items():
            if places.get(one) != name:
                yield f"tap {tap} of {one} is left on {name}"
        for one, wanted in node["wanted"].items():
            if wanted["state"] == "unreadable":
                yield f"the wanted file of {one} on {name} cannot be read"
    for part in picture["parts"]:
        if not _cut_transfer(part, history):
            yield f"half a file is left: {part}"


def _cut_transfer(part: str, _history: list[Record]) -> bool:
    """A half blob is kept to be resumed; the daily sweep takes it."""
    return "/parts/" in part


def nothing_waits(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """Outboxes, flows and journals are empty."""
    for role in ("clc", "cc"):
        for row in picture[role]["outbox"]:
            yield f"the {role} still has to post {row['command']} to {row['to']}: {row['why']}"
    for flow in picture["cc"]["flowrun"]:
        yield f"the flow {flow['command']} {flow['kind']} is at step {flow['step']}, waiting for {flow['waiting'] or 'nothing'}"
    for name, journal in picture["journals"].items():
        for order, kind, state in journal["open"]:
            yield f"the order {order} {kind} is {state} at {name}"
        for subject in journal["reports"]:
            yield f"a report about {subject} is unsaid at {name}"


def images_agree(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """What is published is in the store, and nothing else is; no upload is left whose task ended."""
    versions = picture["clc"]["imageversion"]
    published = {b["sha256"] for v in versions if v["state"] == "published" for b in v["blobs"]}
    store = set(picture["store"])
    if missing := sorted(published - store):
        yield f"published and not in the store: {missing}"
    if extra := sorted(store - published):
        yield f"in the store and not published: {extra}"
    for version in versions:
        if version["state"] == "building":
            yield f"version {version['version']} of {version['image_id']} is building at rest"


def hosts_agree(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """Every host that is not removed is up or draining, and its boss knows which; a removed one is forgotten."""
    children = {c["id"]: c for c in picture["cc"]["child"]}
    for host in picture["clc"]["host"]:
        if host["id"] not in picture["hosts"] and host["state"] != "retired":
            continue
        if host["state"] not in ("up", "draining", "retired"):
            yield f"{host['name']} is {host['state']} at rest"
        if host["role"] not in ("nc", "sc"):
            continue
        child = children.get(host["id"])
        if host["state"] == "retired":
            if child:
                yield f"{host['name']} was removed, and its cluster still has it"
        elif child is None:
            yield f"{host['name']} is {host['state']}, and its cluster does not know it"
        elif bool(child["draining"]) != (host["state"] == "draining"):
            yield f"{host['name']} is {host['state']}, for its cluster it is {'draining' if child['draining'] else 'not draining'}"


REST: tuple[Callable[[list[Record], dict[str, Any]], Iterator[str]], ...] = (
    tasks_end, steps_end, nobody_is_placed_unasked, instances_agree, networks_agree, leases_agree, nothing_is_left, nothing_waits, images_agree, hosts_agree,
    *image_rules.REST,
)


# ---- reading


def _effects(history: list[Record]) -> list[Record]:
    return [r for r in history if r["what"] == "effect"]


def _asked(history: list[Record], verb: str = "") -> list[Record]:
    return [r for r in history if r["what"] == "asked" and r["answer"].get("accepted") and verb in ("", r["verb"])]


def _behind(history: list[Record]) -> set[str]:
    """Instances somebody touched behind our back."""
    found: dict[str, set[str]] = defaultdict(set)
    for r in history:
        if r["who"] == "fault" and r["what"] in BEHIND:
            found["all"].add(str(r["about"]).split(" ")[0])
    return found["all"]
