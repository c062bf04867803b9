"""Instances, hosts and tasks through the client: waiting, detaching, repeating, printing."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from luhyaapi import clock
from tests.support.cli_calls import Cli, cli_fixture

_client = cli_fixture


def test_run_waits_and_prints_the_running_instance(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    ended = cli("instance", "run", "--image", "tiny", "--memory", "512M", "--json")
    assert ended.code == 0
    assert ended.json["state"] == "running"
    assert ended.json["nics"][0]["ip"] == "10.231.0.5"
    assert ended.json["memory_bytes"] == 512 * 2**20
    assert "move bytes" in ended.err


def test_count_prints_an_array_and_no_wait_the_task(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    many = cli("instance", "run", "--image", "tiny", "--count", "3", "--json")
    assert [i["state"] for i in many.json] == ["running"] * 3
    at_once = cli("instance", "run", "--image", "tiny", "--no-wait", "--json")
    assert at_once.json["id"].startswith("tsk-")
    assert len(cli("instance", "run", "--image", "tiny", "--no-wait", "--count", "2", "--json").json) == 2


def test_who_waits_for_room_is_told_the_place_and_the_reason_once(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    cli.cloud.looks = 4
    cli.cloud.queue = {"place": 12, "of": 300, "what": "No node can take 1 CPU and 512 MiB of memory now", "why": "", "until": "2026-01-01T00:00:00Z"}
    ended = cli("instance", "run", "--image", "tiny", "--count", "2", "--json")
    assert [i["state"] for i in ended.json] == ["running"] * 2
    assert ended.err.count("waits: place 12 of 300: No node can take 1 CPU and 512 MiB of memory now") == 1
    task = cli.cloud.task("instance/run")
    assert "place 12 of 300: No node can take" in cli("task", "show", task["id"]).out
    cli.cloud.queue = None
    assert "place" not in cli("task", "show", task["id"]).out


def test_an_instance_that_waits_tells_the_details_too(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    made = cli("instance", "run", "--image", "tiny", "--json").json["id"]
    cli.cloud.instances[made]["queue"] = {"place": 1, "of": 1, "what": "No address is free", "why": "of 2, 2 are lent and 0 rest after their last use"}
    assert "place 1 of 1: No address is free: of 2, 2 are lent" in cli("instance", "show", made).out


def test_an_unknown_image_is_not_found_and_makes_nothing(cli: Cli) -> None:
    assert cli("instance", "run", "--image", "nothing").code == 3
    assert not cli.cloud.instances


def test_a_failed_run_ends_with_the_exit_of_its_error(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    cli.cloud.fail_tasks_with = {"code": "no_capacity", "what": "No node", "why": "full", "hint": ""}
    one = cli("instance", "run", "--image", "tiny", "--why", "--json")
    assert one.code == 6
    assert one.json["error"]["code"] == "no_capacity"
    assert "no memory" in one.err
    many = cli("instance", "run", "--image", "tiny", "--count", "2", "--json")
    assert many.code == 6
    assert [i["state"] for i in many.json] == ["failed", "failed"]


def test_why_stands_in_the_document(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    ended = cli("instance", "run", "--image", "tiny", "--why", "--json")
    assert ended.json["placement"] == {"node": "nc-00000001", "why": {"nc-00000002": "no memory"}}


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_repeated_post_keeps_its_key_and_acts_once(cli: Cli, where: str) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    left = [where, where]
    cli.line.cuts = lambda r: left.pop() if r.method == "POST" and left else ""
    assert cli("instance", "run", "--image", "tiny", "--json").code == 0
    keys = [r.headers["Idempotency-Key"] for r in cli.line.tries if r.method == "POST"]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(cli.cloud.instances) == 1


def test_two_calls_use_two_keys(cli: Cli) -> None:
    cli("host", "token")
    cli("host", "token")
    assert len({r.headers["Idempotency-Key"] for r in cli.line.tries}) == 2


def test_a_delete_whose_answer_was_lost_is_done(cli: Cli) -> None:
    host = cli.cloud.add_host("n1")
    left = ["after"]
    cli.line.cuts = lambda r: left.pop() if r.method == "DELETE" and left else ""
    assert cli("host", "remove", host["id"], "--yes", "--json").code == 0
    assert not cli.cloud.hosts
    assert cli("host", "remove", host["id"], "--yes").code == 3


class Interrupting(clock.ManualClock):
    """A clock whose sleeper presses Ctrl-C."""

    def sleep(self, seconds: float) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_detaches_and_says_how_to_come_back(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    clock.use(Interrupting())
    ended = cli("instance", "run", "--image", "tiny")
    assert ended.code == 130
    assert ended.out == ""
    (task,) = cli.cloud.tasks
    assert f"educloud task watch {task}" in ended.err
    assert cli.cloud.tasks[task]["state"] == "running"
    said = cli("task", "watch", cli.cloud.task("y")["id"], "--json")
    assert said.code == 130
    assert said.json["detached"]
    clock.use(clock.ManualClock())
    assert cli("task", "watch", task, "--json").json["state"] == "done"


def test_waiting_ends_at_its_time_limit(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    cli.cloud.looks = 10_000
    ended = cli("instance", "run", "--image", "tiny", "--timeout", "3", "--json")
    assert ended.code == 7
    assert ended.json["error"]["task"] in cli.cloud.tasks


def test_a_watcher_lives_through_a_restart_of_the_cloud(cli: Cli) -> None:
    task = cli.cloud.task("x")
    left = ["before"] * 10
    cli.line.cuts = lambda _r: left.pop() if left else ""
    assert cli("task", "watch", task["id"], "--json").json["state"] == "done"
    cli.line.cuts = lambda _r: "before"
    assert cli("task", "watch", task["id"]).code == 8


def test_watching_a_failed_task_prints_it_and_fails(cli: Cli) -> None:
    cli.cloud.fail_tasks_with = {"code": "hypervisor", "what": "No", "why": "y", "hint": "h"}
    ended = cli("task", "watch", cli.cloud.task("x")["id"], "--json")
    assert ended.code == 1
    assert ended.json["state"] == "failed"
    gone = cli.cloud.task("x")
    assert cli("task", "cancel", gone["id"], "--json").json["state"] == "cancelled"
    assert cli("task", "watch", gone["id"]).code == 5


def test_an_instance_by_its_name_its_verbs_and_its_end(cli: Cli) -> None:
    made = cli.cloud.add_instance("web")
    assert cli("instance", "stop", "web", "--json").json["state"] == "stopped"
    assert cli("instance", "start", "web", "--json").json["state"] == "running"
    assert cli("instance", "reboot", made["id"], "--json").json["state"] == "running"
    assert cli("instance", "screen", "web").out == f"http://cloud.test/instances/{made['id']}/screen/\n"
    assert cli("instance", "log", "web", "--json").json["log"].startswith("booted")
    assert cli("instance", "delete", "web", "--yes", "--json").json["state"] == "deleted"
    assert cli("instance", "show", "web").code == 3


def test_a_name_that_several_have_is_not_guessed(cli: Cli) -> None:
    first, second = cli.cloud.add_instance("twin"), cli.cloud.add_instance("twin")
    ended = cli("instance", "stop", "twin")
    assert ended.code == 2
    assert first["id"] in ended.err
    assert second["id"] in ended.err


def test_a_table_keeps_each_row_on_its_line_and_wide_letters_aligned(cli: Cli) -> None:
    cli.cloud.add_instance("课堂")
    cli.cloud.add_instance("n" * 150)
    lines = cli("instance", "list").out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("ID ")
    assert lines[1].index("running") + len("课堂") == lines[2].index("running")
    assert all(one == one.rstrip() for one in lines)


def test_all_pages_of_a_list_are_one_array(cli: Cli) -> None:
    cli.cloud.page = 2
    for n in range(5):
        cli.cloud.add_instance(f"n{n}")
    assert len(cli("instance", "list", "--json").json) == 5


def test_a_page_never_leads_to_another_server(cli: Cli) -> None:
    pages = [b'{"results": [], "next": "http://evil.test/steal?cursor=2"}', b'{"results": [], "next": null}']
    cli.line.instead(200, "application/json", *pages)
    assert cli("task", "list", "--json").json == []
    assert {r.url.host for r in cli.line.tries} == {"cloud.test"}


def test_tables_never_carry_what_steers_a_terminal(cli: Cli) -> None:
    cli.cloud.add_instance("evil\x1b[2J\u202ename")
    shown = cli("instance", "list")
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    assert "evil\\x1b" in shown.out


@pytest.mark.parametrize("args", [("host", "list"), ("image", "list"), ("task", "list"), ("instance", "list"), ("status",)])
def test_tables_and_documents_of_the_lists(cli: Cli, args: tuple[str, ...]) -> None:
    cli.cloud.add_host("n1")
    cli.cloud.add_image("tiny", kernel=b"k")
    cli.cloud.add_instance("a")
    cli.cloud.task("x")
    assert cli(*args).out
    said = cli(*args, "--json")
    assert said.err == ""
    assert isinstance(said.json, dict if args == ("status",) else list)
    assert cli("--json", *args).json


def test_hosts(cli: Cli) -> None:
    host = cli.cloud.add_host("n1", state="new")
    for action, state in (("approve", "up"), ("drain", "draining"), ("resume", "up"), ("refresh", "up")):
        assert cli("host", action, host["id"], "--json").json["state"] == state
    assert cli("host", "show", "n1").out
    assert cli("host", "token", "--role", "cc").out == "once\n"
    assert cli("task", "trace", cli.cloud.task("x")["id"]).out


def test_only_public_keys_leave_the_machine(cli: Cli, tmp_path: Path) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    key = tmp_path / "id"
    for bad in ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", "", "hello\n", "ssh-rsa AAAAAAAAAAAAAAAAAAAAAAA\nssh-rsa BBBB\n"):
        key.write_text(bad)
        assert cli("instance", "run", "--image", "tiny", "--ssh-key", str(key)).code == 2
    assert not cli.line.tries
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here\n")
    assert cli("instance", "run", "--image", "tiny", "--ssh-key", str(key)).code == 0
    sent = next(r for r in cli.cloud.requests if r.method == "POST")
    assert json.loads(sent.body)["ssh_keys"] == ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here"]


def test_user_data_is_read_from_a_file_and_sent_as_it_is(cli: Cli, tmp_path: Path) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    file = tmp_path / "user-data"
    for bad in (b"", b"a\0b", b"\xff\xfe", b"x" * 65537):
        file.write_bytes(bad)
        assert cli("instance", "run", "--image", "tiny", "--user-data", str(file)).code == 2
    assert cli("instance", "run", "--image", "tiny", "--user-data", str(tmp_path / "none")).code == 2
    assert not cli.line.tries
    given = "#!/bin/sh\r\n\techo ä\x1b\n"
    file.write_bytes(given.encode())
    assert cli("instance", "run", "--image", "tiny", "--user-data", str(file)).code == 0
    sent = next(r for r in cli.cloud.requests if r.method == "POST")
    assert json.loads(sent.body)["user_data"] == given


def test_a_first_boot_is_offline_where_that_is_asked_for_and_connected_by_hand(cli: Cli) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    for more, told in (((), None), (("--first-boot-offline",), True)):
        cli.cloud.requests.clear()
        assert cli("instance", "run", "--image", "tiny", "--name", f"lab-{len(more)}", *more).code == 0
        sent = next(r for r in cli.cloud.requests if r.method == "POST")
        assert json.loads(sent.body).get("first_boot_offline") is told
    assert cli("instance", "connect", "lab-1").code == 0
    assert [r.path.endswith("/connect/") for r in cli.cloud.requests if r.method == "POST"] == [False, True]


def test_the_file_of_a_remote_desktop_is_written_and_replaces_nothing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.cloud.add_image("tiny", kernel=b"k")
    cli("instance", "run", "--image", "tiny", "--name", "lab-1")
    monkeypatch.chdir(tmp_path)
    assert cli("instance", "rdp", "lab-1").out == "lab-1.rdp\n"
    assert (tmp_path / "lab-1.rdp").read_bytes() == b"full address:s:203.0.113.1:20007\r\n"
    (tmp_path / "lab-1.rdp").write_text("mine")
    assert cli("instance", "rdp", "lab-1").code == 5
    assert (tmp_path / "lab-1.rdp").read_text() == "mine"
    assert cli("--json", "instance", "rdp", "lab-1", "--force").code == 0
    assert cli("instance", "rdp", "lab-1", "--output", str(tmp_path / "none" / "x.rdp")).code == 2


def test_the_token_travels_in_its_header(cli: Cli) -> None:
    cli("host", "list")
    (request,) = cli.line.tries
    assert isinstance(request, httpx.Request)
    assert request.headers["Authorization"] == "Bearer good-token"
