"""A cloud of somebody without rights: an account of every Debian that owns nothing, with a home of its own for the test."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOMEBODY = "games"


class Unprivileged:
    """Commands of that user, against one folder. ``packages``: where unpacked packages are kept from run to run."""

    def __init__(self, profile: str, base: int, packages: Path | None = None) -> None:
        self.who = pwd.getpwnam(SOMEBODY)
        self.home = Path(tempfile.mkdtemp(prefix="edu"))
        os.chown(self.home, self.who.pw_uid, self.who.pw_gid)
        self.cloud = self.home / "c"
        self.base = base
        self.environ = {
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home), "LC_ALL": "C.UTF-8", "PROFILE": profile,
            "EDUCLOUD_HOME": str(self.cloud), "EDUCLOUD_PORT_BASE": str(base), "PYTHONDONTWRITEBYTECODE": "1",
        }
        if packages:
            packages.mkdir(exist_ok=True)
            os.chown(packages, self.who.pw_uid, self.who.pw_gid)
            self.environ |= {"EDUCLOUD_PACKAGES": str(packages), "EDUCLOUD_UNPACK": "all"}

    def run(self, *argv, patience_s: float = 240, code: int = 0, **environ: str) -> str:
        done = subprocess.run(
            ["setpriv", f"--reuid={self.who.pw_uid}", f"--regid={self.who.pw_gid}", "--clear-groups", "--no-new-privs", *argv],
            cwd=ROOT, env=self.environ | environ, capture_output=True, text=True, timeout=patience_s, check=False,
        )
        assert done.returncode == code, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def host(self, verb: str, **kw) -> str:
        """``make up``, ``down`` or ``reset``, as the Makefile calls them."""
        return self.run(sys.executable, "-m", "deploy.host", verb, **kw)

    def call(self, *words: str, **kw) -> str:
        """One call of the command line client."""
        return self.run(sys.executable, "-m", "deploy.cli.main", "--context", f"cloud-{self.base}", *words, **kw)

    def json(self, *words: str):
        said = self.call(*words, "--json")
        return json.JSONDecoder().raw_decode(said)[0]

    def processes(self) -> list[str]:
        """What that user still runs of this cloud."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"EDUCLOUD_HOME={self.cloud}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "comm").read_text().strip())
            except OSError:
                continue
        return found

    def forget(self) -> None:
        shutil.rmtree(self.home)


def soon(true, patience_s: float = 60.0):
    """The first true answer, or the last one at the end of patience."""
    until = time.monotonic() + patience_s
    while not (answer := true()) and time.monotonic() < until:
        time.sleep(0.3)
    return answer
