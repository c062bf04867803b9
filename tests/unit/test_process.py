"""Outside programs end in time, whatever they do; loops outlive their steps."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from luhyaapi import clock, process
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import Loop

PY = sys.executable


def _gone(pid: int) -> bool:
    until = clock.monotonic() + 5
    while process.alive(pid) and clock.monotonic() < until:
        clock.sleep(0.01)
    return not process.alive(pid)


def test_a_program_that_ends_gives_what_it_printed() -> None:
    done = process.run(["sh", "-c", "cat; echo err >&2"], timeout_s=10, stdin="grüß".encode())
    assert (done.code, done.text, done.stderr) == (0, "grüß", b"err\n")


def test_a_failing_program_is_failed_with_its_words() -> None:
    with pytest.raises(Failed) as e:
        process.run(["sh", "-c", "echo because >&2; exit 3"], timeout_s=10)
    assert (e.value.code, e.value.why) == ("program", "because")
    assert "3" in e.value.what
    assert process.run(["sh", "-c", "exit 3"], timeout_s=10, check=False).code == 3


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Failed) as e:
        process.run(["no-such-program-here"], timeout_s=1)
    assert e.value.code == "missing"
    assert "no-such-program-here" in e.value.what


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(Failed) as e:
        process.run(["sh", "-c", f"sleep 60 & echo $! $$ > {pids}; wait"], timeout_s=0.3)
    assert e.value.code == "timeout"
    assert all(_gone(int(p)) for p in pids.read_text().split())


def test_one_that_does_not_end_is_told_with_its_last_words():
    with pytest.raises(Failed) as e:
        process.run(["sh", "-c", "echo waiting for the lock >&2; sleep 60"], timeout_s=0.5)
    assert (e.value.code, e.value.why) == ("timeout", "waiting for the lock")


def test_a_child_that_left_with_the_output_does_not_hold_us(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(Failed) as e:
        process.run(["sh", "-c", f"setsid sleep 60 & echo $! > {pid}; exit 0"], timeout_s=0.5)
    assert e.value.code == "timeout"
    process.end(int(pid.read_text()), grace_s=1)


def test_what_cannot_be_started_is_no_bug(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    with pytest.raises(Failed) as e:
        process.run([plain], timeout_s=1)
    assert e.value.code == "missing"
    plain.chmod(0o755)
    with pytest.raises(Failed) as e:
        process.run([plain], timeout_s=1)
    assert e.value.code == "program"


def test_what_it_prints_can_be_bounded() -> None:
    done = process.run(["sh", "-c", "echo out; echo err >&2; cat"], timeout_s=10, stdin=b"in", printed_at_most=4096)
    assert (done.code, done.stdout, done.stderr) == (0, b"out\nin", b"err\n")
    done = process.run([PY, "-c", "print('x' * 1000000)"], timeout_s=10, check=False, printed_at_most=4096)
    assert done.code != 0
    assert done.stdout == b"x" * 4096
    with pytest.raises(Failed, match="because"):
        process.run(["sh", "-c", "echo because; exit 1"], timeout_s=10, printed_at_most=4096)


def test_an_asker_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def asked() -> bool:
        if pid.exists() and pid.read_text().endswith("\n"):
            raise OSError("the asker fails")
        return False

    with pytest.raises(OSError, match="the asker fails"):
        process.run(["sh", "-c", f"echo $$ > {pid}; sleep 60"], timeout_s=60, cancelled=asked)
    assert _gone(int(pid.read_text()))


def test_a_cancelled_program_ends_soon() -> None:
    begin = clock.monotonic()
    with pytest.raises(Refused) as e:
        process.run(["sleep", "60"], timeout_s=30, cancelled=lambda: clock.monotonic() - begin > 0.1)
    assert e.value.code == "cancelled"
    assert clock.monotonic() - begin < 20


def test_big_output_and_input_do_not_block() -> None:
    data = os.urandom(3_000_000)
    done = process.run(["cat"], timeout_s=30, stdin=data, cancelled=lambda: False)
    assert done.stdout == data
    with pytest.raises(Failed) as e:
        process.run([PY, "-c", "import sys; sys.stderr.write('x' * 1_000_000); sys.exit(1)"], timeout_s=30)
    assert len(e.value.why) <= 64 * 1024


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert process.run(["true"], timeout_s=10, stdin=b"x" * 1_000_000).code == 0


def test_the_environment_is_small_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDUCLOUD_SECRET", "s3cret")
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    shown = process.run(["env"], timeout_s=10, env={"MINE": "1"}).text.splitlines()
    assert "MINE=1" in shown
    assert "LC_ALL=C.UTF-8" in shown
    assert not [line for line in shown if line.startswith(("EDUCLOUD", "LANG="))]


def test_nothing_is_read_by_a_shell(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    process.run(["echo", f"; touch {victim}", f"$(touch {victim})"], timeout_s=10, cwd=tmp_path)
    assert not victim.exists()


def test_a_spawned_program_lives_on_until_it_is_ended(tmp_path: Path) -> None:
    output = tmp_path / "out"
    pid = process.spawn(["sh", "-c", "echo up; exec sleep 60"], output=output)
    assert process.alive(pid)
    until = clock.monotonic() + 5
    while not output.read_text() and clock.monotonic() < until:
        clock.sleep(0.01)
    assert output.read_text() == "up\n"
    assert process.end(pid)
    assert not process.alive(pid)
    assert process.end(pid), "ending what has ended is no error"


def test_a_program_that_ignores_being_asked_is_made_to_end(tmp_path: Path) -> None:
    output = tmp_path / "out"
    pid = process.spawn([PY, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"], output=output)
    until = clock.monotonic() + 10
    while not output.read_text() and clock.monotonic() < until:
        clock.sleep(0.01)
    assert process.end(pid, grace_s=0.1)


# ---- loops


def test_a_loop_survives_a_failing_step_and_wakes_at_once() -> None:
    steps, third = [], threading.Event()

    def step() -> None:
        steps.append(1)
        if len(steps) == 3:
            third.set()
        raise ValueError("again")

    loop = Loop("x", step, 60).start()
    until = clock.monotonic() + 10
    while not third.is_set() and clock.monotonic() < until:
        loop.wake()
        clock.sleep(0.005)
    loop.stop()
    assert third.is_set()
    count = len(steps)
    loop.wake()
    clock.sleep(0.02)
    assert len(steps) == count


def test_a_wake_during_a_step_is_not_lost() -> None:
    inside, go, steps = threading.Event(), threading.Event(), []

    def step() -> None:
        steps.append(1)
        inside.set()
        assert go.wait(10)

    loop = Loop("x", step, 60).start()
    assert inside.wait(10)
    loop.wake()
    go.set()
    until = clock.monotonic() + 10
    while len(steps) < 2 and clock.monotonic() < until:
        clock.sleep(0.005)
    loop.stop()
    assert len(steps) >= 2


def test_a_loop_may_stop_itself_and_be_stopped_before_it_began() -> None:
    loops: list[Loop] = []
    done = threading.Event()

    def step() -> None:
        loops[0].stop()
        done.set()

    loops.append(Loop("x", step, 0.01))
    Loop("never", step, 1).stop()
    loops[0].start()
    assert done.wait(10)
    loops[0].stop()
