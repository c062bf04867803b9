"""Log lines: one JSON object each, bound fields on every line, no secret ever."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from luhyaapi import log

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    known = structlog.get_config()
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    structlog.reset_defaults()
    structlog.configure(**known)
    log.clear()
    root.handlers, root.level = handlers, level


def _begin() -> None:
    """Within the test: the runner adds handlers of its own when a test begins."""
    log.setup("DEBUG", role="nc", host="nc-00000001")


def test_a_line_is_json_with_what_was_bound(lines: Lines) -> None:
    _begin()
    with log.bound(task="tsk-00000001"):
        log.get("here").info("order accepted", kind="domain/stop", naïve="ü\n")
    log.get("here").warning("after")
    first, second = lines()
    assert (first["event"], first["task"], first["role"], first["host"], first["level"]) == (
        "order accepted", "tsk-00000001", "nc", "nc-00000001", "info")
    assert first["naïve"] == "ü\n"
    assert first["ts"].endswith("Z")
    assert "task" not in second


def test_secrets_do_not_enter(lines: Lines) -> None:
    _begin()
    log.get("here").info("signed in", password="p", join_token="t", ticket="x", secret_file="f", signature="s", api_key="k", user="ada")
    (line,) = lines()
    assert {line[n] for n in ("password", "join_token", "ticket", "secret_file", "signature", "api_key")} == {"***"}
    assert line["user"] == "ada"


def test_lines_of_libraries_look_the_same(lines: Lines) -> None:
    _begin()
    logging.getLogger("somebody.else").warning("odd: %s", 7)
    logging.getLogger("amqp").warning("too chatty")
    (line,) = lines()
    assert (line["event"], line["level"], line["role"]) == ("odd: 7", "warning", "nc")


def test_an_exception_is_one_line(lines: Lines) -> None:
    _begin()
    try:
        raise ValueError("inside")
    except ValueError:
        log.get("here").exception("it broke")
    (line,) = lines()
    assert "ValueError: inside" in line["exception"]


def test_before_setup_nothing_goes_to_standard_output() -> None:
    code = "from luhyaapi import log; l = log.get('x'); l.debug('d'); l.info('i'); l.warning('w', password='p')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "'w'" in done.stderr
    assert "'p'" not in done.stderr
