"""Rows of what a boss does with many: heartbeats, placements, lists, rights, reports."""

from __future__ import annotations

from collections.abc import Sequence

from bench.rows import Quoted, Row

_SIGNED = "0.1 to 0.2 ms of each is its Ed25519 signature, which the original did not have; it is why clusters gather"
_PACED = "no peer: what the others take a second stands above"
_WHY_PLACE = "3 ms of cpu each, of which choosing is less than 0.6; the rest is seven statements of the ORM, the report, two commits"
_LAYERS = "token, middleware and the pictures of each row"
_IN_PYTHON = "pictures are made row by row in Python; an answer made by the database would be another shape"
_ALL_READ = "all rows are looked through; an index of three-letter parts is not built"
_OWN = "no peer: no other has these rights"
_OWN_REPORT = "no peer: no other has these rows"

_OLD, _KEPT, _BARE = "original's way", "the same, one connection kept", "bare drain"
_OLD_KEY, _KEPT_KEY, _BARE_KEY = "B original's way, {n:,} nodes: statuses/s", "B one connection kept: statuses/s", "bare drain: statuses/s"
_SIZES = (1_000, 10_000, 100_000)
_GATHERED = {1_000: "", 10_000: "39 us of cpu for each", 100_000: "39 us of cpu for each"}

HEARTBEATS = (
    *(Row("heartbeat", f"{n:,} nodes, gathered, statuses/s", f"A gathered, {n:,} nodes: statuses/s", "higher", _OLD, _OLD_KEY.format(n=n), ratio=70,
          note=_GATHERED[n]) for n in _SIZES),
    *(Row("heartbeat", f"{n:,} nodes, gathered, statuses/s", f"A gathered, {n:,} nodes: statuses/s", "higher", _KEPT, _KEPT_KEY, ratio=70,
          note=_GATHERED[n]) for n in _SIZES),
    *(Row("heartbeat", f"{n:,} nodes, gathered, statuses/s", f"A gathered, {n:,} nodes: statuses/s", "higher", _BARE, _BARE_KEY, ratio=0.7)
      for n in _SIZES),
    Row("heartbeat", "single messages, statuses/s", "A single messages: statuses/s", "higher", _KEPT, _KEPT_KEY, ratio=25, note=_SIGNED),
    Row("heartbeat", "single messages, statuses/s", "A single messages: statuses/s", "higher", _BARE, _BARE_KEY, ratio=0.7, note=_SIGNED),
    Row("heartbeat", "100,000 nodes, gathered, cpu us of a status", "A gathered, 100,000 nodes: cpu us/status", "lower", _KEPT,
        "B one connection kept: cpu us/status"),
    *(row for n in _SIZES for row in (
        Row("heartbeat", f"{n:,} nodes every 10 s: cores", f"{n:,} nodes, cpu seconds per second", "lower", _PACED, limit=1.0),
        Row("heartbeat", f"{n:,} nodes every 10 s: lag p50", f"{n:,} nodes, lag p50, s", "lower", _PACED),
        Row("heartbeat", f"{n:,} nodes every 10 s: lag p99", f"{n:,} nodes, lag p99, s", "lower", _PACED, limit=2.0,
            note="up to 1 s of it is the gathering, the sender's own lateness is in it"),
        Row("heartbeat", f"{n:,} nodes every 10 s: age on the board p50", f"{n:,} nodes, age on the board p50, s", "lower", _PACED),
        Row("heartbeat", f"{n:,} nodes every 10 s: age on the board p99", f"{n:,} nodes, age on the board p99, s", "lower", _PACED,
            note="a host tells every 10 s"),
    )),
)
PLACEMENTS = (
    Row("schedule", "1,000 nodes, placements/s", "A 1,000 nodes: placements/s", "higher", "by hand", "B 1,000 nodes: placements/s", limit=1000,
        note=_WHY_PLACE),
    Row("schedule", "10,000 nodes, placements/s", "A 10,000 nodes: placements/s", "higher", "by hand", "B 10,000 nodes: placements/s", limit=500,
        note=_WHY_PLACE),
    Row("schedule", "1,000 nodes, placements/s", "A 1,000 nodes: placements/s", "higher", "OpenStack placement, four at once", Quoted(14.7, ""), ratio=100,
        note=_WHY_PLACE),
    *(Row("schedule", f"{n:,} nodes, latency {at}", f"A {n:,} nodes: {at}, ms", "lower", "no peer: by hand is one statement")
      for n in (1_000, 10_000) for at in ("p50", "p99")),
    *(Row("schedule-mariadb", f"{n:,} nodes on MariaDB, placements/s", f"A {n:,} nodes: placements/s", "higher", "by hand", f"B {n:,} nodes: placements/s",
          limit=goal, note=_WHY_PLACE) for n, goal in ((1_000, 1000), (10_000, 500))),
)
LISTS = (
    Row("listing", "page of 50", "A page of 50, ms", "lower", "DRF", "B DRF page of 50, ms", limit=1.5, ratio=1 / 5, note=_LAYERS),
    Row("listing", "page of 200, 20,000 rows down", "A page of 200, 20,000 rows down, ms", "lower", "ours, the first 50", "A page of 50, ms",
        note="by key; four times the rows"),
    Row("listing", "10,000 in pages of 1,000", "A 10,000 in pages, ms", "lower", "DRF at once", "B DRF 10,000 at once, ms", ratio=1 / 8, note=_IN_PYTHON),
    Row("listing", "10,000 in pages of 1,000", "A 10,000 in pages, ms", "lower", "floor", "floor: 10,000 as JSON by the database, ms", ratio=2,
        note=_IN_PYTHON),
    Row("listing", "filter by state and host", "A filter by state and host, ms", "lower", "awk", "awk filter, ms", limit=10, ratio=1 / 7, note=_LAYERS),
    Row("listing", "by name", "A by name, ms", "lower", "no peer: the next row but two is awk's", limit=10),
    Row("listing", "console, first page of 50", "A console, first page, ms", "lower", "no peer: Horizon does not run here", note="templates: 2 ms a row"),
    Row("listing", "console, part of a name, one hit of 100,000", "A console, part of a name (one of 100,000), ms", "lower", "awk",
        "awk part of a name, ms", limit=10, ratio=1 / 7, note=_ALL_READ),
    Row("listing", "console, overview with its sums", "A console, overview with its sums, ms", "lower", "awk", "awk sums, ms", limit=10,
        note="summed by the database at each look, no counters are kept"),
)
RIGHTS = (
    Row("rights", "a page of 50 of what one sees, one query", "a page of what one sees, ms", "lower", "all paths compared",
        "B: paths compared in the program, ms", limit=20),
    Row("rights", "how many one sees", "how many one sees, ms", "lower", _OWN),
    Row("rights", "may one delete this, asked of the database", "may one delete this, ms", "lower", _OWN),
    Row("rights", "may one, roles read once before, 1,000 times", "may one, as read before, 1,000 times, ms", "lower", _OWN, limit=50),
)
REPORTS = (
    Row("reports", "administrator: a page of 1,000 lines", "a page of 1,000 lines, root, ms", "lower", _OWN_REPORT),
    Row("reports", "administrator: the hours of all", "the hours of all, root, ms", "lower", _OWN_REPORT),
    Row("reports", "administrator: all of it as CSV", "all of it as CSV, root, ms", "lower", _OWN_REPORT),
    Row("reports", "head of one school: a page of 1,000 lines", "a page of 1,000 lines, head, ms", "lower", _OWN_REPORT),
    Row("reports", "head of one school: the hours of all", "the hours of all, head, ms", "lower", _OWN_REPORT),
    Row("reports", "the budget of a school, as each start asks", "a budget of a school, ms", "lower", _OWN_REPORT),
)
TABLES: dict[str, Sequence[Row]] = {"heartbeats": HEARTBEATS, "placements": PLACEMENTS, "lists": LISTS, "rights": RIGHTS, "reports": REPORTS}
