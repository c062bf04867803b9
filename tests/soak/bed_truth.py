"""A bed at rest, judged by what is really there: facts of every host and what the CLC tells are collected, then compared.

The tables, journals, domains and leases go to the simulator's judge, whose last picture they are; what only a real host has is judged here.
"""

from __future__ import annotations

import ipaddress
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploy.testbed.bed import Bed
from tests.simulator import checker
from tests.support.bed_sight import soon

Facts = dict[str, Any]
"""``hosts``: by name what :mod:`tests.support.bed_facts` found there; ``told``: the instances as the command line lists them."""

_COLLECT_S = 60
_JUDGED = (
    checker.tasks_end, checker.steps_end, checker.nobody_is_placed_unasked, checker.instances_agree, checker.networks_agree,
    checker.leases_agree, checker.nothing_is_left, checker.nothing_waits, checker.hosts_agree,
)


def collect(bed: Bed) -> Facts:
    """What is there now. Raises Failed when a host or the CLC does not answer."""
    there = [name for name, host in bed.description.hosts.items() if host.roles]
    words = [sys.executable, "-m", "tests.support.bed_facts"]
    with ThreadPoolExecutor(len(there) + 1) as beside:
        told = beside.submit(bed.answer, "instance", "list", timeout_s=_COLLECT_S)
        hosts = dict(zip(there, beside.map(lambda name: json.loads(bed.run(name, words, timeout_s=_COLLECT_S).text), there), strict=True))
        return {"hosts": hosts, "told": told.result()}


def wrong(facts: Facts) -> list[str]:
    """Every difference, in words."""
    seen = picture(facts)
    return [*(said for rule in _JUDGED for said in rule([], seen)), *(said for rule in RULES for said in rule(facts))]


def at_rest(bed: Bed, until: float, what: str) -> None:
    """Nothing is wrong any more, at that time (monotonic) at the latest. Raises AssertionError, at once when an instance runs twice."""
    last = ["nothing was seen"]

    def look() -> bool:
        facts = collect(bed)
        last[:] = wrong(facts)
        twice = [each for each in one_guest_each(facts) if "times" in each]
        assert not twice, f"{what}: {twice}"
        return not last

    assert soon(look, max(until - time.monotonic(), 1)), f"{what}: {last}"


def picture(facts: Facts) -> dict[str, Any]:
    """The facts as the simulator's judge reads them."""
    hosts: dict[str, Facts] = facts["hosts"]
    clc, cc = (next(h[role] for h in hosts.values() if h[role]) for role in ("clc", "cc"))
    names = {row["id"]: row["name"] for row in clc["host"]}
    nodes = {name: h for name, h in hosts.items() if "nc" in h["journals"]}
    return {
        "clc": clc, "cc": cc, "hosts": names,
        "nodes": {name: {"domains": h["domains"], "wanted": h["wanted"], "pins": h["pins"], "taps": _owners(h)} for name, h in nodes.items()},
        "journals": {f"{role} of {name}": journal for name, h in hosts.items() for role, journal in h["journals"].items()},
        "served": sorted(each for h in hosts.values() for network in h["networks"] for each in network["planned"]),
        "parts": [f"{name}/{part}" for name, h in hosts.items() for part in h["parts"]],
    }


def _owners(host: Facts) -> dict[str, str]:
    """Whose each tap is by its name."""
    return {tap: f"ins-{tap[1:9]}" for tap in host["taps"]}


# ---- rules of what is there


def each_program_runs_once(facts: Facts) -> Iterator[str]:
    """Whatever a host's supervisor keeps running runs, and not twice."""
    for name, host in facts["hosts"].items():
        yield from (f"{program} runs {times} times on {name}" for program, times in host["programs"].items() if times != 1)


def one_guest_each(facts: Facts) -> Iterator[str]:
    """No instance has two processes, and each process a domain that runs; each domain that runs has its process."""
    where = [(guest["instance"], name) for name, guest in _each(facts, "guests")]
    for instance, times in Counter(instance for instance, _ in where).items():
        if times > 1:
            yield f"{instance} runs {times} times: on {sorted(name for one, name in where if one == instance)}"
    for name, host in facts["hosts"].items():
        running = {one for one, domain in host["domains"].items() if domain["state"] == "running"}
        processes = {guest["instance"] for guest in host["guests"]}
        yield from (f"{one} has a process on {name} and no running domain" for one in sorted(processes - running))
        yield from (f"{one} has a running domain on {name} and no process" for one in sorted(running - processes))


def nothing_is_shared(facts: Facts) -> Iterator[str]:
    """No MAC, address or display port has two holders: among domains, processes, host files of DHCP, and what the CLC tells."""
    domains = [(one, domain) for _, host in facts["hosts"].items() for one, domain in host["domains"].items()]
    guests = [guest for _, guest in _each(facts, "guests")]
    told = facts["told"]
    yield from _twice("MAC", "domains", ((card["mac"], one) for one, domain in domains for card in domain["nics"]))
    yield from _twice("display port", "domains", ((domain["port"], one) for one, domain in domains if domain["port"]))
    yield from _twice("MAC", "processes", ((mac, guest["instance"]) for guest in guests for mac in guest["macs"]))
    yield from _twice("screen", "processes", ((guest["screen"], guest["instance"]) for guest in guests if guest["screen"]))
    yield from _twice("MAC", "DHCP", ((mac, ip) for _, network in _each(facts, "networks") for mac, ip in network["hosts"]))
    yield from _twice("address", "DHCP", ((ip, mac) for _, network in _each(facts, "networks") for mac, ip in network["hosts"]))
    yield from _twice("MAC", "what is told", ((nic["mac"], one["id"]) for one in told for nic in one["nics"]))
    yield from _twice("address", "what is told", ((nic["ip"], one["id"]) for one in told for nic in one["nics"]))
    yield from _twice("display port", "what is told", ((one["display"]["port"], one["id"]) for one in told if one["display"] and one["display"]["port"]))


def cards_are_plugged(facts: Facts) -> Iterator[str]:
    """A running guest's taps are there, each on a bridge, its process has the MACs of its domain and a screen; there is no other tap."""
    for name, host in facts["hosts"].items():
        running = {one: domain for one, domain in host["domains"].items() if domain["state"] == "running"}
        expected = {card["tap"] for domain in running.values() for card in domain["nics"]}
        yield from (f"the tap {tap} on {name} is missing" for tap in sorted(expected - host["taps"].keys()))
        yield from (f"the tap {tap} on {name} is of no guest that runs" for tap in sorted(host["taps"].keys() - expected))
        yield from (f"the tap {tap} on {name} is on no bridge" for tap, bridge in host["taps"].items() if not bridge)
        for guest in host["guests"]:
            macs = sorted(card["mac"] for card in running.get(guest["instance"], {"nics": []})["nics"])
            if guest["instance"] in running and sorted(guest["macs"]) != macs:
                yield f"the process of {guest['instance']} on {name} has the cards {guest['macs']}, its domain {macs}"
            if not guest["listens"]:
                yield f"{guest['instance']} on {name} has no screen"


def dhcp_serves_its_plan(facts: Facts) -> Iterator[str]:
    """Each network is served by one dnsmasq, and its host files are its plan."""
    for name, network in _each(facts, "networks"):
        if len(network["served_by"]) != 1:
            yield f"{network['bridge']} on {name} is served by {len(network['served_by'])} dnsmasq"
        if (planned := sorted([mac, ip] for _, mac, ip in network["planned"])) != network["hosts"]:
            yield f"DHCP of {network['bridge']} on {name} knows {network['hosts']}, planned are {planned}"


def rules_name_the_lent(facts: Facts) -> Iterator[str]:
    """No packet rule, forward or public address leads to an address of the guests that is lent to nobody."""
    networks = [network for _, network in _each(facts, "networks")]
    lent = {lease["ip"] for host in facts["hosts"].values() if host["cc"] for lease in host["cc"]["addresslease"] if lease["instance"]}
    known = lent | {network["gateway"] for network in networks}
    for name, host in facts["hosts"].items():
        for address in host["addresses"]:
            if address not in known and any(ipaddress.ip_address(address) in ipaddress.ip_network(n["subnet"]) for n in networks):
                yield f"packet rules of {name} name {address}, which is lent to nobody"


def what_is_told_is_so(facts: Facts) -> Iterator[str]:
    """The CLC lists exactly its instances; who runs has one process, there; who does not has none, and who failed says why."""
    told = {one["id"]: one for one in facts["told"]}
    where = {guest["instance"]: name for name, guest in _each(facts, "guests")}
    rows = next(host["clc"]["instance"] for host in facts["hosts"].values() if host["clc"])
    kept = {row["id"] for row in rows if row["state"] != "deleted"}
    yield from (f"{one} is told and is not there" for one in sorted(told.keys() - kept))
    yield from (f"{one} is there and not told" for one in sorted(kept - told.keys()))
    yield from (f"{one} runs on {where[one]} and the CLC tells of no such instance" for one in sorted(where.keys() - told.keys()))
    for one, row in told.items():
        if row["state"] == "running" and where.get(one) != row["host_name"]:
            yield f"{one} is told to run on {row['host_name']}, its process is on {where.get(one, 'no host')}"
        elif row["state"] != "running" and one in where:
            yield f"{one} is told to be {row['state']} and runs on {where[one]}"
        elif row["state"] == "failed" and not row["error"]:
            yield f"{one} has failed and nobody says why"


def _each(facts: Facts, what: str) -> Iterator[tuple[str, Any]]:
    return ((name, each) for name, host in facts["hosts"].items() for each in host[what])


def _twice(thing: str, among: str, held: Iterable[tuple[object, str]]) -> Iterator[str]:
    holders: dict[object, list[str]] = {}
    for value, holder in held:
        holders.setdefault(value, []).append(holder)
    return (f"the {thing} {value} is of {' and of '.join(of)}, by {among}" for value, of in holders.items() if len(of) > 1)


RULES: tuple[Callable[[Facts], Iterator[str]], ...] = (
    each_program_runs_once, one_guest_each, nothing_is_shared, cards_are_plugged, dhcp_serves_its_plan, rules_name_the_lent, what_is_told_is_so,
)
