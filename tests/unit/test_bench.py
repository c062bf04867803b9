"""What benchmarks share: a quiet machine is waited for, ratios go one way, and every row says what it is compared with."""

import json
import os
import subprocess

import pytest

from bench import heartbeat, page, quiet, run
from bench.cloud import _pretended_node
from bench.many import Booting, _has_booted, distinct, lost_or_double
from bench.overload import unplaced
from bench.rows import Quoted, Row, found, told
from bench.tables import ROWS, TABLES
from deploy.host.configs import toml

LOWER = Row("x", "a start", "A, s", "lower", "virsh", "B, s", ratio=1.2)
HIGHER = Row("x", "a rate", "A, MB/s", "higher", "nginx", "B, MB/s", limit=100, ratio=0.9, note="it is checked")


# ---- a quiet machine


def test_a_quiet_machine_is_not_waited_for():
    said = []
    assert quiet.awaited(lambda: 0.5, lambda _s: pytest.fail("it slept"), said.append) == 0.5
    assert said == []


def test_a_machine_that_becomes_quiet_is_waited_for_and_that_is_said():
    loads, said = iter([2.0, 1.0, 0.4]), []
    assert quiet.awaited(lambda: next(loads), lambda _s: None, said.append) == 0.4
    assert said == ["The load of a minute is 2.00; waiting up to 300 s for 0.5."]


def test_a_busy_machine_is_refused_in_the_end_with_what_to_do():
    slept = []
    with pytest.raises(quiet.TooBusyError, match=r"0\.51 after 300 s.*make bench BUSY=1"):
        quiet.awaited(lambda: 0.51, slept.append, lambda _text: None)
    assert sum(slept) == quiet.PATIENCE_S


def test_a_benchmark_on_a_busy_machine_does_not_run(monkeypatch, capsys):
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    monkeypatch.setattr(quiet, "PATIENCE_S", 0.0)
    monkeypatch.delenv(quiet.BUSY, raising=False)
    assert run.main(["start"]) == 3
    assert "The load of a minute is 9.00 after 0 s, more than 0.5" in capsys.readouterr().err


def test_the_commit_says_whether_files_differ_from_it(tmp_path):
    assert quiet.commit(tmp_path) == "unknown"
    (tmp_path / "a").write_text("1")
    for words in (("init", "-q"), ("add", "a"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")):
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)
    clean = quiet.commit(tmp_path)
    assert len(clean) == 12
    (tmp_path / "a").write_text("2")
    assert quiet.commit(tmp_path) == f"{clean}+"


@pytest.mark.parametrize(("load", "name"), [(0.3, "x.json"), (0.6, "x.local.json")])
def test_a_result_keeps_load_and_commit_and_a_busy_one_lies_apart(tmp_path, load, name):
    file = run.kept("x", quiet.machine(load), {"runs": {"A, s": [1.0]}}, tmp_path)
    assert file.name == name
    kept = json.loads(file.read_text())["machine"]
    assert (kept["load_before"], kept["busy"], kept["commit"]) == (load, load > 0.5, quiet.commit())


# ---- rows


def test_a_ratio_is_ours_by_theirs_the_median_of_rounds():
    assert found(LOWER, {"A, s": [1.0, 4.0, 9.0], "B, s": [1.0, 2.0, 3.0]}).ratio == 2.0
    assert found(LOWER, {"A, s": [1.0, 4.0, 9.0], "B, s": [8.0]}).ratio == 0.5, "of the medians where one side ran less often"


@pytest.mark.parametrize(("ours", "theirs", "met"), [(1.2, 1.0, True), (1.3, 1.0, False)])
def test_lower_is_met_at_most(ours, theirs, met):
    assert found(LOWER, {"A, s": [ours], "B, s": [theirs]}).met is met


@pytest.mark.parametrize(("ours", "theirs", "met"), [(100, 110, True), (100, 120, False), (99, 50, False)])
def test_higher_is_met_at_least_in_both_goals(ours, theirs, met):
    assert found(HIGHER, {"A, MB/s": [ours], "B, MB/s": [theirs]}).met is met


def test_what_was_not_measured_is_not_judged():
    assert found(LOWER, {"B, s": [1.0]}) is None
    alone = found(LOWER, {"A, s": [1.0]})
    assert (alone.peer, alone.ratio, alone.met) == (None, None, None)
    assert found(HIGHER, {"A, MB/s": [200]}).met is None, "half of a goal"
    assert found(HIGHER, {"A, MB/s": [20]}).met is False


def test_a_result_has_its_rows_with_direction_and_goal():
    (row,) = told([LOWER, Row("y", "other", "A, s", "lower", "no peer: it is alone")], "x", {"A, s": [3.0], "B, s": [2.0]})
    assert (row["ratio"], row["better"], row["met"]) == (1.5, "lower", False)


# ---- the page


def test_a_line_says_ours_peer_ratio_which_way_is_better_and_why():
    assert page.line(HIGHER, {"runs": {"A, MB/s": [50.0], "B, MB/s": [200.0]}}) == (
        "| a rate | 50 MB/s | nginx 200 MB/s | 0.25 | higher | at least 100 MB/s, ratio at least 0.9 | no: it is checked |\n")


def test_a_line_without_figures_says_so():
    assert page.line(LOWER, None) == "| a start | not measured yet | virsh |  | lower | ratio at most 1.2 |  |\n"
    assert page.line(LOWER, {"runs": {"A, s": [1.0]}}) == "| a start | 1 s | virsh: not measured yet |  | lower | ratio at most 1.2 |  |\n"
    quoted = Row("x", "a start", "A, s", "lower", "Nova", Quoted(2.0, "s"))
    assert page.line(quoted, {"runs": {"A, s": [1.0]}}) == "| a start | 1 s | Nova 2 s (quoted) | 0.5 | lower |  |  |\n"


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0.0374, "s", "37.4 ms"), (0.00002, "s", "20 us"), (0.75, "s", "0.75 s"), (12345.6, "", "12,346"), (0, "s", "0 s"), (0.05, "ms", "50 us"),
    (7.0, "MiB", "7 MiB"),
])
def test_a_figure_has_three_digits_and_a_unit_that_fits(value, unit, text):
    assert page.figure(value, unit) == text


@pytest.mark.parametrize(("key", "unit"), [
    ("POST answered, s", "s"), ("450 MiB, 94 Mbit/s: A, MB", "MB"), ("B, cable: MB/s", "MB/s"), ("launches a second", ""), ("A: lent/s", ""),
])
def test_a_unit_is_what_a_figures_name_ends_with(key, unit):
    assert page.unit_of(key) == unit


def test_every_table_stands_on_the_page_once_and_every_result_is_in_a_row():
    text = (page.ROOT / page.PAGE).read_text()
    assert page.unknown(TABLES, text) == set()
    assert all(text.count(f"<!-- table {name} -->") == 1 for name in (*TABLES, "measured"))
    assert {file.stem for file in page.RESULTS.glob("*.json") if not file.stem.endswith(".local")} <= {row.of for row in ROWS}
    assert {row.of.removesuffix("-mariadb") for row in ROWS} == set(run.NAMES)


def test_every_row_has_a_peer_or_says_why_not_and_every_miss_says_why():
    assert [row.what for row in ROWS if bool(row.peer) == row.named.startswith("no peer: ")] == []
    assert [row.what for row in ROWS if row.ratio and not row.peer] == []
    results = {of: json.loads((page.RESULTS / f"{of}.json").read_text())["runs"] for of in {row.of for row in ROWS}}
    missed = [row for row in ROWS if (seen := found(row, results[row.of])) and seen.met is False]
    assert missed
    assert [row.what for row in missed if not row.note] == []


# ---- what benchmarks count


def machine(n, **over):
    return {"nics": [{"mac": f"m{n}", "ip": f"i{n}"}], "display": {"port": n}, **over}


def test_a_machine_lost_too_many_or_with_anothers_address_is_counted():
    rows = [machine(n) for n in range(3)]
    assert distinct(rows) == {"macs": 3, "addresses": 3, "ports": 3}
    assert lost_or_double(rows, 3) == 0
    assert lost_or_double(rows, 4) == lost_or_double(rows, 2) == 1
    assert lost_or_double([*rows[:2], machine(0, display={"port": 9})], 3) == 2


def test_who_waits_without_a_place_or_a_reason_is_counted():
    rows = [{"queue": {"place": n, "what": "no room"}} for n in (1, 2, 3)]
    assert unplaced(rows) == 0
    assert unplaced([*rows[:2], {"queue": {"place": 2, "what": "no room"}}]) == 1
    assert unplaced([*rows[:2], {"queue": {"place": 3, "what": ""}}]) == 1
    assert unplaced([*rows[:2], {"queue": None}]) == 1
    assert unplaced([*rows[:2], {"queue": {"place": 7, "what": "no room"}}]) == 1


def test_a_guest_boots_until_its_console_says_that_it_is_up(tmp_path):
    log = tmp_path / "console.log"
    assert not _has_booted(log)
    log.write_text("educloud: ins-1 is")
    assert not _has_booted(log)
    log.write_text("educloud: ins-1 is up\n")
    assert _has_booted(log)


def test_guests_of_other_nodes_are_not_counted(tmp_path):
    (tmp_path / "ins-0000000a").mkdir()
    stand_in = ["python3", "-c", "import time; time.sleep(30)", "guest=ins-0000000a,debug-threads=on"]
    process = subprocess.Popen(stand_in)
    try:
        with Booting({"here": tmp_path, "there": tmp_path / "other"}) as watch:
            for _ in range(100):
                if watch.at_once["here"]:
                    break
                watch.join(0.05)
    finally:
        process.kill()
        process.wait()
    assert dict(watch.at_once) == {"here": 1, "there": 0}
    assert watch.booted_s == {}


@pytest.mark.parametrize("nodes", heartbeat.SIZES)
def test_each_node_beats_once_in_a_period(nodes):
    beats = [n for second in range(heartbeat.PERIOD_S) for number in range(heartbeat.CLUSTERS) for n in heartbeat.due(number, second, nodes)]
    assert sorted(beats) == heartbeat.beating(nodes)
    assert len(beats) == nodes
    assert all(heartbeat.boss_of(n) < heartbeat.CLUSTERS for n in beats)


def test_a_pretended_node_is_what_the_settings_take():
    assert toml(_pretended_node(50)).count("fake") == 2
