"""Every outcome of a call: exit code, three lines on stderr, one document on stdout."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.cli.main import main
from luhyaapi import process
from luhyaapi.errors import CODES
from tests.support.cli_calls import Cli, cli_fixture

_client = cli_fixture


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_its_exit_its_lines_and_its_document(cli: Cli, code: str) -> None:
    cli.cloud.refuse_with = code
    plain = cli("status")
    assert plain.code == CODES[code].exit
    assert plain.out == ""
    lines = plain.err.splitlines()
    assert [one.split(":")[0] for one in lines] == ["what", "why", "hint", "code"]
    assert CODES[code].hint in lines[2]
    assert code in lines[3]
    assert "tsk-00000001" in lines[3]
    said = cli("status", "--json")
    assert said.code == CODES[code].exit
    assert said.json["error"]["code"] == code
    assert said.json["error"]["task"] == "tsk-00000001"


def test_a_wrong_token_is_not_permitted(cli: Cli) -> None:
    cli.environ["EDUCLOUD_TOKEN"] = "other"
    assert cli("instance", "list").code == 4


@pytest.mark.parametrize("where", [("instance", "show"), ("image", "show"), ("host", "show"), ("task", "show")])
def test_what_is_not_there_is_not_found(cli: Cli, where: tuple[str, str]) -> None:
    assert cli(*where, "nothing").code == 3


def test_a_server_that_is_away_is_exit_8_after_three_tries(cli: Cli) -> None:
    cli.line.cuts = lambda _request: "before"
    ended = cli("status", "--json")
    assert ended.code == 8
    assert ended.json["error"]["code"] == "host_silent"
    assert len(cli.line.tries) == 3


def test_a_server_that_is_no_cloud_is_exit_8(cli: Cli) -> None:
    cli.line.instead(200, "text/html", b"<html>")
    assert cli("status").code == 8
    cli.line.instead(302, "text/html", b"", location="/login")
    assert cli("status").code == 8
    cli.line.instead(502, "text/html", b"bad gateway")
    assert cli("status").code == 8
    cli.line.instead(200, "application/json", b"[1, 2]")
    assert cli("status").code == 8


def test_an_unknown_code_of_a_newer_server_keeps_its_family(cli: Cli) -> None:
    body = b'{"code": "brand_new", "what": "W", "why": "Y", "hint": "H", "status": 404}'
    cli.line.instead(404, "application/problem+json", body)
    ended = cli("host", "show", "x")
    assert ended.code == 3
    assert "what: W" in ended.err


@pytest.mark.parametrize(
    "args",
    [
        ("bogus",), ("instance", "bogus"), ("instance", "run"), ("instance", "run", "--image", "x", "--cpus", "0"),
        ("instance", "run", "--image", "x", "--cpus", "many"), ("instance", "run", "--image", "x", "--memory", "0"),
        ("instance", "run", "--image", "x", "--memory", "1.5G"), ("instance", "run", "--image", "x", "--count", "0"),
        ("instance", "show", "a\x1bb"), ("image", "show", "../x"), ("image", "show", ""), ("host", "show", "a\nb"),
        ("host", "token", "--role", "king"), ("user", "add", "x\x00y"), ("task", "list", "--context", "unknown"),
        ("instance", "run", "--image", "tiny\x07"), ("instance", "run", "--image", "tiny", "--name", "a/b"),
    ],
)  # fmt: skip
def test_misuse_is_exit_2_and_asks_nobody(cli: Cli, args: tuple[str, ...]) -> None:
    ended = cli(*args, "--json")
    assert ended.code == 2
    assert ended.json["error"]["code"] == "invalid"
    assert "\x1b" not in ended.err
    assert "\x07" not in ended.err
    assert not cli.line.tries


@pytest.mark.parametrize("args", [("host", "remove", "h"), ("image", "delete", "i"), ("instance", "delete", "ins-00000001")])
def test_what_destroys_is_refused_without_yes_where_nobody_can_be_asked(cli: Cli, args: tuple[str, ...]) -> None:
    assert cli(*args).code == 2
    assert not cli.line.tries


def test_a_no_on_the_terminal_destroys_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cli.cloud.add_instance("a")
    cli.terminal = True
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n", raising=False)
    assert cli("instance", "delete", made["id"]).code == 5
    assert made["id"] in cli.cloud.instances


def test_help_needs_no_cloud_and_a_noun_alone_shows_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "instance" in capsys.readouterr().out
    assert main(["image"]) == 2
    assert "build-demo" in capsys.readouterr().err


def test_help_loads_neither_the_network_nor_the_console_nor_django() -> None:
    script = "import sys; from deploy.cli.main import main; main(['--help']); print(sorted({'django', 'httpx', 'rich', 'pydantic'} & set(sys.modules)))"
    ended = process.run([sys.executable, "-c", script], timeout_s=20, cwd=Path(__file__).parents[2])
    assert ended.text.splitlines()[-1] == "[]"


def test_explain_and_version(cli: Cli) -> None:
    assert "no_capacity" in cli("explain", "no_capacity").out
    assert cli("explain", "no_capacity", "--json").json["exit"] == 6
    assert cli("explain", "nonsense").code == 3
    assert cli("version", "--json").json["educloud"]


def test_a_fault_of_ours_is_said_as_one(cli: Cli) -> None:
    cli.line.cuts = lambda _request: {}["x"]
    ended = cli("status", "--json")
    assert ended.code == 1
    assert ended.json["error"]["code"] == "bug"


def test_doctor_names_each_thing(cli: Cli) -> None:
    cli.environ["EDUCLOUD_HOME"] = "/nonexistent/educloud"
    good = cli("doctor", "--json")
    assert {"python", "context", "cloud"} <= {c["name"] for c in good.json}
    cli.line.cuts = lambda _request: "before"
    bad = cli("doctor", "--json")
    assert bad.code == 1
    assert [c["name"] for c in bad.json if c["health"] == "fail"] == ["cloud"]
    cli.line.cuts = lambda _request: ""
    cli.environ["EDUCLOUD_TOKEN"] = ""
    assert "token" in cli("doctor").out
