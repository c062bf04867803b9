"""Rows of a whole cloud: starting, many at once, too many at once, coming up, memory, commands."""

from __future__ import annotations

from collections.abc import Sequence

from bench.rows import Quoted, Row

_HOPS = "two hops down and the report's way up, each signed, journalled and confirmed before it is believed, around the same libvirt call"
_LAUNCH = "134 ms of processor time each: console 28, relay 47, cluster 46, node 12"
_NOVA, _LXD = "Nova 34 with its fake driver", "LXD 5.0"
_HAND = "Python itself 10, TLS and cryptography 14, pydantic with all that can be said 17, libvirt 11 on a node; Django is in none of them"
_BOSS = "as a node without libvirt, and Django with its tables"
_ALONE = "no peer: each cloud has its own programs"
_NO_FAIR = "no peer: none that runs here has a queue shared out among owners"
_BARE, _BARE_KEY = "virsh create, two at a time, each until its console says so", "B 40 bare, two at a time: all booted, s"
_SPREAD = "no peer: none that runs here places guests on several nodes"

START = (
    Row("start", "POST to `running`", "A cloud: POST to running, s", "lower", "virsh create", "B virsh create, s", ratio=1.05, note=_HOPS),
    Row("start", "DELETE to nothing left", "A cloud: DELETE to nothing left, s", "lower", "virsh destroy", "B virsh destroy, s", ratio=1.2,
        note="the same hops; disk, lease, DHCP entry and pins go too"),
    Row("start", "the same", "A cloud: DELETE to nothing left, s", "lower", "virsh destroy where nobody reaps orphans", Quoted(1.8, "s"), ratio=1 / 7,
        note="the guest itself is gone as soon as libvirt looks; the hops are the rest"),
    Row("start", "20 deleted at once, from the first DELETE to the last one gone", "A cloud: 20 DELETEs at once to nothing left, s", "lower",
        "20 virsh destroy at once", "B 20 virsh destroy at once, s", limit=1.0, note="20 POSTs, journals and reports on two cores"),
    Row("start", "POST answered", "POST answered, s", "lower", f"{_NOVA}", Quoted(0.023, "s"), limit=0.005, ratio=0.25,
        note="45 statements of the ORM, from token to the order in the outbox"),
    Row("start", "POST answered", "POST answered, s", "lower", f"{_LXD}, create", Quoted(0.021, "s"), ratio=0.25, note="the same"),
    Row("launches", "1,000 launches, a second", "launches a second", "higher", _NOVA, Quoted(2.4, ""), limit=200, ratio=80, note=_LAUNCH),
    Row("launches", "the same", "launches a second", "higher", f"{_LXD}, create", Quoted(48, ""), ratio=4, note=_LAUNCH),
    Row("command", "a command over two hops and back", "A refresh of the node, two hops and back, s", "lower", "Celery, one hop",
        "B Celery delay().get(), one hop, s", limit=0.002, ratio=0.5,
        note="an API call, two journals and an outbox on disk and four confirmed messages of quorum queues; Celery's has none of it"),
)
MANY = (
    Row("many", "40 real guests: all `running`", "40 real, one node: all running, s", "lower", _BARE, _BARE_KEY, note="the last two boot still when they run"),
    Row("many", "40 real guests: all booted, by their consoles", "40 real, one node: booted, s", "lower", _BARE, _BARE_KEY, ratio=1 / 0.9, at="most"),
    Row("many", "40 real guests: all answer HTTP", "40 real, one node: up, s", "lower", _BARE, _BARE_KEY, ratio=1 / 0.9, at="most"),
    Row("many", "40 real guests: boots at once on a node, at most", "40 real, one node: boots at once on a node", "lower",
        "no peer: so many were asked of virsh", at="most", limit=2),
    Row("many", "40 real guests: lost, or with a MAC, address or port of another", "40 real, one node: lost or double", "lower",
        "no peer: a bare guest is given them by hand", limit=0),
    Row("many", "40 real guests: all deleted, from the first DELETE", "40 real, one node: all deleted, s", "lower", "no peer: see 20 deleted at once"),
    Row("many", "40 real guests on two nodes: all answer HTTP", "40 real, two nodes: up, s", "lower", _SPREAD, at="most",
        note="the two nodes of the bed have the same two cores"),
    Row("many", "40 real guests on two nodes: boots at once on a node, at most", "40 real, two nodes: boots at once on a node", "lower", _SPREAD, at="most",
        limit=2, note="from the start of its process until its console says that it is up"),
    Row("many", "40 real guests on two nodes: lost or double", "40 real, two nodes: lost or double", "lower", _SPREAD, limit=0),
    Row("many", "40 pretended guests on two nodes: all `running`", "40 fake, two nodes: all running, s", "lower", _SPREAD),
    Row("many", "40 pretended guests on two nodes: lost or double", "40 fake, two nodes: lost or double", "lower", _SPREAD, limit=0),
    Row("many", "40 pretended guests on two nodes: all deleted, from the first DELETE", "40 fake, two nodes: all deleted, s", "lower", _SPREAD),
)
OVERLOAD = (
    Row("overload", "1,000 at once: all accepted", "all POSTs, s", "lower", _NO_FAIR, note="4.8 ms for each run"),
    Row("overload", "1,000 at once: the one run of the third owner", "the single one of a third owner runs after, s", "lower", _NO_FAIR,
        note="owners take turns"),
    Row("overload", "1,000 at once: of two owners who want more than fits, the one with more running has so many times the other's",
        "most by least of two owners", "lower", _NO_FAIR, limit=1.1),
    Row("overload", "1,000 at once: those that wait without a place of their own, or without a reason", "waiting without place or reason", "lower", _NO_FAIR,
        limit=0),
    Row("overload", "1,000 at once: slowest GET meanwhile", "GET meanwhile, s", "lower", _NO_FAIR, limit=1.0, at="most"),
    Row("overload", "1,000 at once: memory of all four roles, more at most", "four roles, more at most, MiB", "lower", _NO_FAIR, limit=100),
    Row("overload", "1,000 at once: delete to the next one running", "delete to the next one running, s", "lower", _NO_FAIR),
    Row("overload", "1,000 at once: cancel of one that waits", "cancel of one that waits, s", "lower", _NO_FAIR),
)
UP = (
    Row("up", "from nothing, first image there", "up from nothing, s", "lower", _ALONE, note="accelerator proof and `tiny` are built in it"),
    Row("up", "from stopped, until every role is ready", "every role is ready, s", "lower", "RabbitMQ alone", "B RabbitMQ alone takes connections, s",
        note="the goal is RabbitMQ's own start and one second: the next row"),
    Row("up", "the same, more than RabbitMQ alone", "every role is ready, more than RabbitMQ alone, s", "lower", "no peer: it is a difference", limit=1.0,
        note="libvirt, memcached and six Python programs start beside it on two cores"),
    Row("up", "five roles after the broker", "five roles after the broker, s", "lower", "LXD 5.0, one daemon", Quoted(0.24, "s"), limit=2.0,
        note="six Python programs start on two cores"),
    Row("up", "again", "up again, s", "lower", _ALONE),
    Row("up", "down", "down, s", "lower", _ALONE),
)
MEMORY = (
    *(Row("up", f"`{name}`", f"{name}, MiB", "lower", "LXD 5.0, the least of its daemon", Quoted(54, "MiB"), limit=35,
          note=_BOSS if name == "cc" else _HAND) for name in ("nc", "cc", "sc", "walrus")),
    Row("up", "`clc-web`", "clc-web, MiB", "lower", "a worker of OpenStack placement", Quoted(94, "MiB"), limit=60, note=_BOSS),
    Row("up", "`clc-relay`", "clc-relay, MiB", "lower", "a worker of OpenStack placement", Quoted(94, "MiB"), note="it has the CLC's database"),
    Row("up", "five roles", "five roles, MiB", "lower", "Nova's test fixture, one process", Quoted(222, "MiB"), limit=250, note="the sum of these"),
    Row("up", "`beam.smp` (RabbitMQ)", "beam.smp, MiB", "lower", "no peer: not ours"),
    Row("up", "`libvirtd`", "libvirtd, MiB", "lower", "no peer: not ours"),
    Row("up", "`memcached`", "memcached, MiB", "lower", "no peer: not ours"),
    Row("up", "`dnsmasq`", "dnsmasq, MiB", "lower", "no peer: not ours"),
    Row("up", "whole stack", "whole, MiB", "lower", _ALONE, limit=700, note="with RabbitMQ, memcached and libvirt"),
    Row("up", "the node at rest, % of a processor", "the node at rest, % of a processor", "lower", _ALONE, limit=0.5),
)
TABLES: dict[str, Sequence[Row]] = {"start": START, "many": MANY, "overload": OVERLOAD, "up": UP, "memory": MEMORY}
