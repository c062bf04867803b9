"""A small sample of each kind of the soak, and the means it counts with."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from clc.web.api import once
from deploy import attack_table, fault_table, reliability
from tests.simulator import bugs as simulated
from tests.simulator import image_bugs  # noqa: F401 - it adds its own
from tests.soak import attacks, bugs, command, crashes, ledger, merge, rights, seeds, spans, starts, walks
from tests.soak.intervals import IntervalLog, judge
from tests.soak.tally import Budget, Tally
from tests.support import bed_sight
from tests.support.walks import WHOLE, sampled

pytestmark = pytest.mark.walk

ROOT = Path(__file__).resolve().parents[2]
ROWS = (*fault_table.PROMISES, *fault_table.FAULTS, *attack_table.ATTACKS)


def test_two_hundred_double_starts():
    found = starts.run(Budget(60, 1), argparse.Namespace(most=210))
    assert (found.failures, found.runs.total()) == ([], 210)
    assert set(found.runs) == set(starts.SHAPES)


def test_the_judge_sees_what_is_held_twice_or_too_early(tmp_path):
    log = IntervalLog(tmp_path / "log")
    log.write("+", "one", "10.0.0.2", "8700")
    log.write("+", "two", "10.0.0.2", "8701")
    log.write("-", "one")
    log.write("+", "three", "8700")
    log.write("!", "four", "lost")
    verdict = judge(tmp_path / "log", rest_s=60)
    assert verdict.taken == 3
    assert verdict.twice == ["10.0.0.2 held by one and by two"]
    assert [words.split()[0] for words in verdict.early] == ["8700"]
    assert verdict.trouble == ["four lost"]


@pytest.mark.walk
def test_a_few_takers_are_killed():
    words = [sys.executable, "-m", "tests.soak.allocations", "--seconds", "6", "--takers", "8", "--seed", "1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    told = Tally.read(json.loads(done.stdout.splitlines()[-1]))
    assert (done.returncode, told.failures) == (0, []), done.stderr
    assert told.runs["8 takers on sqlite"] > 50
    assert told.figures["killed"] > 5


@pytest.mark.walk
def test_the_judge_sees_what_the_naive_way_lends_twice():
    words = [sys.executable, "-m", "tests.soak.naive", "--seconds", "2", "--takers", "16", "--seed", "1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    told = Tally.read(json.loads(done.stdout.splitlines()[-1]))
    assert told.figures["twice"] > 0
    assert told.runs["16 takers on sqlite"] > told.figures["twice"]


@pytest.mark.walk
def test_a_few_roles_die(django_db_blocker):
    with django_db_blocker.unblock():
        found = crashes.run(Budget(25, 3), argparse.Namespace(most=12))
    assert found.failures == []
    assert found.runs.total() >= 5


def test_a_double_start_nobody_refuses_is_counted_and_can_be_repeated(monkeypatch):
    monkeypatch.setattr("nc.services.wanted.WantedFiles.buried", lambda _self, _instance: -1)
    found = starts.run(Budget(60, 1), argparse.Namespace(most=14))
    assert {f.point for f in found.failures} == {"after a delete", "orders of two places"}
    assert found.failures[0].replay.startswith("python -m tests.soak.starts --seed 1")


def test_a_guard_that_stands_in_the_way_of_newer_orders_is_seen_and_no_double_start(monkeypatch):
    monkeypatch.setattr("nc.services.wanted.WantedFiles.buried", lambda _self, _instance: 1 << 40)
    found = starts.run(Budget(60, 1), argparse.Namespace(most=1))
    assert "anew after a delete" in {f.point for f in found.failures}
    assert found.runs.total() == 1


@pytest.mark.walk
@pytest.mark.parametrize("role", ["walrus", "sc"])
def test_the_store_and_the_storage_die(django_db_blocker, monkeypatch, role):
    monkeypatch.setattr(crashes, "ROLES", (role,))
    with django_db_blocker.unblock():
        found = crashes.run(Budget(120, 3), argparse.Namespace(most=2))
    assert found.failures == []
    assert {point.split()[0] for point in found.runs} == {role}


@pytest.mark.walk
def test_the_web_process_dies_in_a_request(django_db_blocker, monkeypatch):
    monkeypatch.setattr(crashes, "ROLES", ("web",))
    with django_db_blocker.unblock():
        found = crashes.run(Budget(120, 3), argparse.Namespace(most=4))
    assert found.failures == []
    assert {point.split()[0] for point in found.runs} == {"web"}
    assert found.runs.total() >= 3


@pytest.mark.walk
def test_a_request_that_is_carried_out_again_is_seen(django_db_blocker, monkeypatch):
    monkeypatch.setattr(crashes, "ROLES", ("web",))
    monkeypatch.setattr(once._Answers, "earlier", lambda _self: None)
    monkeypatch.setattr(once._Answers, "claim", lambda _self: None)
    with django_db_blocker.unblock():
        found = crashes.run(Budget(120, 3), argparse.Namespace(most=1))
    assert "answered otherwise" in found.failures[0].story


@pytest.mark.walk
@pytest.mark.parametrize("bug", sorted(bugs.ELSEWHERE))
def test_a_bug_no_seed_could_show_is_caught_elsewhere(django_db_blocker, bug):
    with django_db_blocker.unblock():
        found = bugs.run(Budget(60, 1), argparse.Namespace(bug=[bug]))
    assert (found.failures, found.runs) == ([], {bug: 1})
    assert found.facts[bug]["caught"].startswith("by ")


def test_every_deliberate_bug_stands_in_the_ledger_as_caught():
    known = json.loads(ledger.FILE.read_text("utf-8"))["bugs"]
    assert set(known) == {*simulated.BUGS, *bugs.ELSEWHERE}
    assert [name for name, entry in known.items() if not entry["caught"]] == []


def test_the_ledger_only_grows(tmp_path):
    file = tmp_path / "ledger.json"
    one = Tally("kills")
    one.count("node1 nc killed", 3)
    ledger.add(one, file)
    one.fail("node1 nc killed", "stuck", "again")
    ledger.add(one, file)
    entry = json.loads(file.read_text())["kills"]["node1 nc killed"]
    assert (entry["runs"], entry["failures"], entry["replays"]) == (6, 1, ["again"])
    assert set(entry) == {"runs", "failures", "replays", "since", "last", "machine"}


def test_a_seed_is_counted_once(tmp_path):
    file = tmp_path / "ledger.json"
    assert seeds.holes(file) == [(0, 0)]
    for first, end, failed in ((0, 100, []), (50, 150, [60]), (60, 61, [60]), (500, 510, [])):
        form = {"seeds": end - first, "spans": f"{first}:{end}", "failed": failed, "seconds": 1}
        ledger.add(seeds.counted(form), file)
    entry = json.loads(file.read_text())["seeds"]["seeds"]
    assert (entry["runs"], entry["failures"], entry["spans"], entry["since"]) == (160, 1, "0:150 500:510", 10)
    assert seeds.holes(file) == [(150, 500), (510, 510)]
    ledger.add(seeds.counted({"seeds": 2, "spans": "160:161 162:163", "failed": [], "seconds": 1}), file)
    assert seeds.holes(file) == [(150, 500), (510, 510)], "seeds apart by few are run in one go"
    ledger.add(seeds.counted({"seeds": 50, "spans": "300:350", "failed": [], "seconds": 1}), file)
    assert seeds.holes(file) == [(150, 300), (350, 500), (510, 510)]


def test_seeds_in_which_something_came_are_counted_once(tmp_path):
    file = tmp_path / "ledger.json"
    for ran, came, failed in (("0:10", {"cut": "2:5"}, []), ("5:20", {"cut": "4:8", "clock_forward": "6:7", "cut_one_way": "12:13"}, [6]), ("20:30", {}, [])):
        form = {"seeds": spans.size(spans.read(ran)), "spans": ran, "came": came, "failed": failed, "seconds": 1}
        ledger.add(seeds.counted(form), file)
    kept = json.loads(file.read_text())["seeds"]["seeds"]["with"]
    assert kept["spans"] == "0:20", "of an older program nothing is known"
    assert kept["runs"] == {"cut": 3, "cuts": 4, "clock_forward": 0, "clocks": 0, "cut_one_way": 1}
    assert kept["failed"] == {"cut": [6], "cuts": [6], "clock_forward": [6], "clocks": [6]}
    assert (kept["since"]["cut"], kept["since"]["cut_one_way"]) == (0, 1)


def test_ledgers_that_grew_apart_are_added_up(tmp_path):
    base, mine, theirs = (tmp_path / name for name in ("base", "mine", "theirs"))

    def seed(file, ran, came, failed=()):
        form = {"seeds": spans.size(spans.read(ran)), "spans": ran, "came": came, "failed": list(failed), "seconds": 1}
        ledger.add(seeds.counted(form), file)

    def kills(file, point, times):
        one = Tally("kills")
        one.count(point, times)
        ledger.add(one, file)

    seed(base, "0:10", {"cut": "0:4"}, [3])
    kills(base, "head cc killed", 5)
    for file in (mine, theirs):
        file.write_text(base.read_text())
    seed(mine, "10:20", {"cut": "11:13"})
    seed(mine, "3:4", {})
    kills(mine, "head cc killed", 2)
    seed(theirs, "20:30", {"cut": "20:25", "double": "22:23"}, [22])
    kills(theirs, "head cc killed", 4)
    kills(theirs, "front broker killed", 1)
    assert merge.main([str(base), str(mine), str(theirs)]) == 0
    found = json.loads(mine.read_text())
    assert {point: e["runs"] for point, e in found["kills"].items()} == {"head cc killed": 11, "front broker killed": 1}
    one = found["seeds"]["seeds"]
    assert (one["runs"], one["spans"], one["failures"], one["since"]) == (30, "0:30", 2, 0)
    assert ([ledger.number(r) for r in one["replays"]], [ledger.number(r) for r in one["mended"]]) == ([3, 22], [3])
    assert (one["with"]["spans"], one["with"]["runs"]) == ("0:30", {"cut": 11, "cuts": 11, "double": 1})
    assert one["with"]["failed"] == {"cut": [3, 22], "cuts": [3, 22], "double": [22]}


def test_a_seed_that_both_sides_ran_is_added_once(tmp_path):
    base, mine, theirs = (tmp_path / name for name in ("base", "mine", "theirs"))
    base.write_text("{}")
    for file, ran in ((mine, "0:10"), (theirs, "5:20")):
        ledger.add(seeds.counted({"seeds": spans.size(spans.read(ran)), "spans": ran, "failed": [7], "seconds": 1}), file)
    merge.main([str(base), str(mine), str(theirs)])
    one = json.loads(mine.read_text())["seeds"]["seeds"]
    assert (one["runs"], one["failures"], one["spans"]) == (20, 1, "0:20")


def test_the_rate_of_a_long_run_stands_in_the_ledger(tmp_path):
    file = tmp_path / "ledger.json"
    for n, per_s in ((400, 3.5), (20, 9.0)):
        form = {"seeds": n, "spans": f"0:{n}", "failed": [], "seconds": n / per_s, "seeds_per_second": per_s, "seeds_per_cpu_second": 2.0, "jobs": 2}
        ledger.add(seeds.counted(form), file)
    assert json.loads(file.read_text())["seeds"]["seeds"]["rate"] == {"seeds": 400, "jobs": 2, "per_s": 3.5, "per_cpu_s": 2.0}


def test_a_seed_that_was_mended_is_told_as_long_as_it_passes(tmp_path):
    file = tmp_path / "ledger.json"
    told = []
    for failed in ([60, 70], [70], [], [60]):
        form = {"seeds": 20, "spans": "60:80", "failed": failed, "seconds": 1}
        ledger.add(seeds.counted(form), file)
        entry = json.loads(file.read_text())["seeds"]["seeds"]
        told.append([ledger.number(replay) for replay in entry.get("mended", [])])
        assert (entry["runs"], entry["failures"]) == (20, 2)
    assert told == [[], [60], [60, 70], [70]]
    assert entry["since"] == 0


def test_seeds_that_failed_once_run_again(tmp_path):
    file = tmp_path / "ledger.json"
    assert seeds.again(file).runs.total() == 0
    ledger.add(seeds.counted({"seeds": 10, "spans": "0:10", "failed": [3], "seconds": 1}), file)
    ledger.add(seeds.again(file), file)
    entry = json.loads(file.read_text())["seeds"]["seeds"]
    assert [ledger.number(replay) for replay in entry["mended"]] == [3]
    assert (entry["runs"], entry["failures"]) == (10, 1)


def test_spans_of_jobs_that_stopped_apart():
    assert spans.write(spans.of([0, 2, 4, 6, 1, 3])) == "0:5 6:7"
    assert spans.read("6:7 0:5 5:6") == [(0, 7)]
    assert spans.size(spans.read("0:5 6:7")) == 6


def test_what_a_run_says_comes_back_whole():
    one = Tally("cuts")
    one.spans["store"] = [(3, 9)]
    one.count("store")
    one.fail("store", "stuck", "again")
    one.figures["per_s"] = 1.5
    one.came["store"] = {"cut": [(3, 4)]}
    one.facts["store"] = {"rate": {"per_s": 1.5}}
    assert Tally.read(json.loads(json.dumps(one.form()))) == one


def test_minutes_are_shared_out_and_all_of_them_used():
    whole = command.plan(None, 600)
    assert sum(float(words[1].partition("=")[2]) for words in whole) == pytest.approx(600, abs=5)
    (alone,) = command.plan(["cuts"], 60)
    assert alone == ["tests.soak.bed_runs", "--seconds=60", "--kind=cuts"]


def test_the_whole_of_a_walk_is_counted_by_its_test():
    found = walks.run(Budget(60, 1), argparse.Namespace(jobs=0, only="test_a_cancelled_later_start_leaves"))
    assert (found.failures, found.runs) == ([], {"test_cancel test_a_cancelled_later_start_leaves_a_stopped_instance": 1})


def test_walks_are_counted_file_by_file_as_long_as_there_is_time(monkeypatch):
    monkeypatch.setattr(walks, "WHERE", ("tests/soak", "tests/arch"))
    begun = []
    budget = Budget(60, 1)

    def walk(files, _given, _found):
        begun.extend(files)
        budget.seconds = 0 if len(begun) == 2 else 60

    monkeypatch.setattr(walks, "_walk", walk)
    walks.run(budget, argparse.Namespace(jobs=0, only=""))
    assert len(begun) == 2
    assert all((ROOT / file).is_file() for file in begun)


def test_all_points_of_a_walk_or_a_third(monkeypatch):
    monkeypatch.delenv(WHOLE, raising=False)
    assert [sampled("abcdefgh"), sampled("abcdefgh", 1), sampled("a", 2), sampled("")] == [["a", "d", "g"], ["b", "e", "h"], [], []]
    monkeypatch.setenv(WHOLE, "1")
    assert sampled("abcd", 1) == ["a", "b", "c", "d"]


def test_a_program_that_says_nothing_is_a_failure(monkeypatch):
    (told,) = command._read(["tests.soak.no_such_kind", "--seconds=1"])
    assert told.failures[0].replay == "python -m tests.soak.no_such_kind --seconds=1"


def test_what_a_program_started_ends_with_it_when_its_time_is_over(tmp_path):
    file = tmp_path / "pid"
    starts_one = f"import subprocess; p = subprocess.Popen(['sleep', '600']); open({str(file)!r}, 'w').write(str(p.pid)); p.wait()"
    with pytest.raises(subprocess.TimeoutExpired):
        command._said(["timeit", "-n", "1", "-r", "1", starts_one], 3)
    assert bed_sight.soon(lambda: not Path(f"/proc/{file.read_text()}/fd").exists(), 10)


def test_the_simulators_last_line_is_counted():
    told = seeds.counted({"seeds": 40, "failed": [7], "first": {"7": ["I2 broken"]}, "seconds": 3.2})
    assert (told.runs["seeds"], told.figures["per_s"]) == (40, 12.5)
    assert told.failures[0].story == "I2 broken"
    assert told.failures[0].replay == "python -m tests.simulator --story 7"


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_each_test_a_row_names_is_there(row):
    for test in row.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text("utf-8"), test
    assert row.tests or row.gap, "a row has a test or says why not"


def test_every_fault_of_the_table_has_its_row():
    assert [r.name for r in fault_table.FAULTS] == [f"F{n:02}" for n in range(1, 45)]
    assert [r.name for r in fault_table.PROMISES] == [f"I{n}" for n in range(1, 7)]


def test_each_attack_counts_for_itself():
    names = [r.name for r in attack_table.ATTACKS]
    assert names == sorted(set(names))
    assert [r.counted for r in attack_table.ATTACKS] == [(f"attacks/{name}",) for name in names]


def test_cases_count_for_the_rows_that_name_their_test(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.unit.test_ova" name="test_one[a]"/><testcase classname="tests.unit.test_ova" name="test_one[b]">'
        '<failure message="no"/></testcase><testcase classname="tests.unit.test_ova" name="test_two"/></testsuite></testsuites>')
    found = Tally("attacks")
    attacks.counted(report, {"tests/unit/test_ova.py::test_one": ["A01", "A02"], "tests/unit/test_ova.py::test_two": ["A02"]}, found)
    assert found.runs == {"A01": 2, "A02": 3}
    assert [(f.point, f.replay) for f in found.failures] == [(row, "python -m pytest tests/unit/test_ova.py::test_one") for row in ("A01", "A02")]


def test_each_question_of_rights_counts(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase name="test_a[0]"><properties><property name="asked" value="12"/></properties></testcase>'
        '<testcase name="test_a[1]"><properties><property name="asked" value="30"/></properties><failure message="no"/></testcase></testsuite></testsuites>')
    found = Tally("rights")
    rights.counted("the rule", "tests/a.py::test_a", report, found)
    assert found.runs == {"the rule": 42}
    assert [(f.point, f.story, f.replay) for f in found.failures] == [("the rule", "test_a[1]: no", "python -m pytest tests/a.py::test_a")]
    for test in rights.QUESTIONS.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text("utf-8")


def test_counts_of_a_row_come_from_the_ledger():
    names = "kills/node1 nc", "kills/*nc killed", "cuts"
    kills = {"node1 nc killed": {"runs": 5, "failures": 0}, "head cc killed": {"runs": 9, "failures": 1}}
    counts = {"kills": kills, "cuts": {"store": {"runs": 2, "failures": 0}}}
    assert reliability.counted(names, counts) == reliability.Counts(7)
    again = {"kills": {"node1 nc killed": {"runs": 9, "failures": 2, "mended": ["a 1"], "since": 3}}, "cuts": {"store": {"runs": 4, "failures": 0}}}
    assert reliability.counted(names, again) == reliability.Counts(4, 9, 2, 1, 3)


@pytest.mark.parametrize(("counts", "words"), [
    (reliability.Counts(), "not run yet"),
    (reliability.Counts(3), "0 of 3 failed: too few to bound"),
    (reliability.Counts(300), "0 of 300 failed: rate below 0.01"),
    (reliability.Counts(0, 300, 2, 1, 8), "300 runs, 2 failed, 1 of them mended and passing now; since then 0 of 8 failed: rate below 0.38"),
    (reliability.Counts(30, 300, 2, 2, 0),
     "300 runs, 2 failed, each of them mended and passing now; since then 0 of 0 failed: too few to bound; elsewhere 0 of 30 failed: rate below 0.1"),
])
def test_what_so_many_runs_bound(counts, words):
    assert reliability.bound(counts) == words


def test_a_row_counts_the_seeds_in_which_its_fault_came():
    kept = {"counted_since": "2026-11-23", "spans": "0:50", "runs": {"cut": 40}, "failed": {"cut": [7]}, "since": {"cut": 30}}
    counts = {"seeds": {"seeds": {"runs": 900, "failures": 1, "mended": ["again 7"], "since": 3, "with": kept}}}
    assert reliability._with("cut", counts) == (
        "seeds with it, counted since 2026-11-23: 40 runs, 1 failed, each of them mended and passing now; since then 0 of 30 failed: rate below 0.1")
    assert reliability._with("double", counts) == "no seed with it counted yet"


def test_every_kind_a_row_counts_is_one_the_soak_has():
    kinds = {name.partition("/")[0] for row in ROWS for name in row.counted} | {figure.kind for figure in fault_table.FIGURES}
    assert kinds - {"with"} <= set(command.ONLY)
