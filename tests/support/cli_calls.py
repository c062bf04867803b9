"""Calls of the command line client against the fake cloud, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import main
from deploy.cli.session import Session
from luhyaapi import clock
from tests.support.fake_clc_api import TOKEN, URL, FakeCloud, Line


@dataclass
class Outcome:
    """Exit code and both outputs of one call."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails when there is anything else."""
        return json.loads(self.out)


@dataclass
class Cli:
    """The client with its own configuration file and environment."""

    cloud: FakeCloud
    line: Line
    config: Path
    capture: pytest.CaptureFixture[str]
    environ: dict[str, str] = field(default_factory=lambda: {"EDUCLOUD_URL": URL, "EDUCLOUD_TOKEN": TOKEN})
    terminal: bool = False

    def __call__(self, *args: str) -> Outcome:
        """One call."""
        self.capture.readouterr()
        code = main(args, Session(environ=self.environ, config=self.config, transport=self.line, terminal=lambda: self.terminal))
        seen = self.capture.readouterr()
        return Outcome(code, seen.out, seen.err)


@pytest.fixture(name="cli")
def cli_fixture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """A client and a fresh cloud; time moves only when the client sleeps."""
    before = clock.use(clock.ManualClock())
    cloud = FakeCloud()
    yield Cli(cloud, Line(cloud), tmp_path / "config.toml", capsys)
    clock.use(before)
