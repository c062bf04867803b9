"""A real one-host cloud for tests: brought up once per run on ports of its own, taken down without a trace."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = int(os.environ.get("TEST_CLOUD_BASE", "17600"))
SUBNET = os.environ.get("TEST_CLOUD_SUBNET", "10.238.0.0/24")


class Cloud:
    """Commands of an operator and of a client, against one home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{BASE}"
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("EDUCLOUD_")},
            "EDUCLOUD_HOME": str(home / "cloud"), "EDUCLOUD_PORT_BASE": str(BASE), "EDUCLOUD_SUBNET": SUBNET,
            "EDUCLOUD_DEMO": "tiny", "HOME": str(home / "user"), "DJANGO_SETTINGS_MODULE": "",
        }
        (home / "user").mkdir(exist_ok=True)
        (home / "cloud").mkdir(exist_ok=True)

    def host(self, verb: str, patience_s: float = 400) -> str:
        """``make up``, ``down`` or ``reset``, as the Makefile calls them."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.host", verb], cwd=ROOT, env=self.environ, capture_output=True, text=True,
            timeout=patience_s, check=False,
        )
        assert done.returncode == 0, f"{verb}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def call(self, *words: str, code: int = 0, patience_s: float = 180, home: Path | None = None) -> str:
        """One call of the command line client; its standard output."""
        environ = {**self.environ, **({"HOME": str(home)} if home else {})}
        done = subprocess.run(
            [Path(sys.executable).with_name("educloud"), *words], cwd=self.home, env=environ, capture_output=True, text=True,
            timeout=patience_s, check=False,
        )
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str, **kw):
        """One call, its JSON."""
        return json.loads(self.call(*words, "--json", **kw))

    @property
    def password(self) -> str:
        """The administrator's."""
        return (self.home / "cloud" / "clc" / "admin-password").read_text().strip()

    def soon(self, true, patience_s: float = 60.0, every_s: float = 0.3):
        """The first true answer, or the last one at the end of patience."""
        until = time.monotonic() + patience_s
        while not (answer := true()) and time.monotonic() < until:
            time.sleep(every_s)
        return answer

    def states(self) -> dict[str, str]:
        """Role to state as ``educloud status`` says."""
        try:
            return {h["role"]: h["state"] for h in self.json("status")["hosts"]}
        except (AssertionError, subprocess.TimeoutExpired):
            return {}

    def all_up(self) -> bool:
        """Five roles up, and their parts well."""
        states = self.states()
        return len(states) == 5 and set(states.values()) == {"up"}
