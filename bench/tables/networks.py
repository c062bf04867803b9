"""Rows of networks: forwards, DHCP, leases, and what a forward costs who goes through it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.rows import Row

_SIZES = (100, 1_000, 10_000, 40_000)
_READS = "20 ms are dnsmasq's, which reads its folder of 10,000; none restarts"
_WAYS = (("cable", "B, cable"), ("router", "C, router"))
_NAIVE = "looked for, then marked"
_SAFE = "the way that lends some twice is what it is compared with"


def _forward(size: int, ours: str, theirs: str) -> Row:
    adds = ours == "add"
    return Row("forwards", f"a forward {'added' if adds else 'removed'}, {size:,} there", f"A {size:,}: {ours}, ms", "lower",
               theirs.replace("restore", "iptables-restore -n"), f"B {size:,}: {theirs}, ms")


FORWARDS = (
    *(_forward(size, ours, theirs) for size in _SIZES
      for ours, theirs in (("add", "iptables -A"), ("add", "restore -A"), ("remove", "iptables -D"), ("remove", "restore -D"))),
    Row("forwards", "one added and removed, 10,000 there", "A 10,000: add and remove, ms", "lower", "iptables -A and -D", "B 10,000: iptables -A and -D, ms",
        ratio=1 / 100),
    Row("forwards", "slowest by quickest of 1,000 to 40,000", "A 1,000 to 40,000: slowest by quickest", "lower", "no peer: it is a ratio", limit=1.2),
    Row("forwards", "1,000 in one transaction, 10,000 there", "A 10,000: 1,000 at once, ms", "lower", "no peer: iptables has one rule a call", limit=10),
    Row("forwards", "10,000 again after a flush", "A 10,000: again after a flush, ms", "lower", "iptables-restore", "B 10,000: again after a flush, ms",
        limit=100),
    *(Row("forwards", f"the whole plan compared and one more, {size:,} there", f"A {size:,}: apply one more, ms", "lower",
          "no peer: iptables compares nothing") for size in (10_000, 40_000)),
)
EDGE = (
    *(Row("dhcp", "a host more for DHCP: answered", "A, our dnsmasq: answered, ms", "lower", peer, f"{key}: answered, ms", limit=5, note=_READS)
      for peer, key in (("isc-dhcpd", "B, isc-dhcpd"), ("dnsmasq by hand", "C, dnsmasq by hand"))),
    *(Row("dhcp", "a host more for DHCP: a client has it", "A, our dnsmasq: a client has it, ms", "lower", peer, f"{key}: a client has it, ms",
          note="82 ms are the client's own") for peer, key in (("isc-dhcpd", "B, isc-dhcpd"), ("dnsmasq by hand", "C, dnsmasq by hand"))),
    Row("dhcp", "the whole plan of 10,000 hosts compared", "A, our dnsmasq: the whole plan compared, ms", "lower", "no peer: they compare nothing"),
    *(row for of, name in (("leases", "SQLite"), ("leases-mariadb", "MariaDB")) for row in (
        Row(of, f"leases taken by 32 at once, {name}: a second", "A: lent/s", "higher", _NAIVE, "B: lent/s", note=_SAFE),
        Row(of, f"leases taken by 32 at once, {name}: lent twice or leaked", "A: failures", "lower", _NAIVE, "B: lent twice", limit=0, at="most",
            note="some takers are killed; none of the peer's"),
    )),
    *(Row("through", "through a forward: bytes", "A, forward: MB/s", "higher", peer, f"{at}: MB/s") for peer, at in _WAYS),
    *(Row("through", f"through a forward: a {what}", f"A, forward: {what}, us", "lower", peer, f"{at}: {what}, us")
      for what in ("round trip", "new connection") for peer, at in _WAYS),
    Row("through", "of 200 connections, alive after all rules were made again", "connections after all rules were made again", "higher",
        "no peer: a cable has no rules", limit=200),
)
TABLES: dict[str, Sequence[Row]] = {"forwards": FORWARDS, "edge": EDGE}
