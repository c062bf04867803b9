"""A MariaDB server of its own for one test or run: a folder, a free port of loopback, one database per name."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import scratch

_SECRET = "lent-for-a-test-only"
_READY_S = 20.0


@dataclass
class Server:
    """``password`` is the file with the password of every account; an account is called as its database."""

    home: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    @property
    def password(self) -> Path:
        return self.home / "password"

    def url(self, name: str) -> str:
        """As ``database.url`` in the settings."""
        return f"mysql://{name}@127.0.0.1:{self.port}/{name}"

    @property
    def base(self) -> list[str]:
        return ["--no-defaults", f"--datadir={self.home}/data", "--user=mysql"]

    def start(self) -> None:
        """Returns once it answers."""
        self._process = subprocess.Popen(
            ["mariadbd", *self.base, f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self.home}/sock", f"--pid-file={self.home}/pid"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        _wait(self)

    def kill(self) -> None:
        """As ``kill -9``."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """In order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def say(self, sql: str) -> str:
        """Statements as the server's own root; its answer, without headings."""
        done = subprocess.run(["mariadb", "--no-defaults", f"--socket={self.home}/sock", "-uroot", "-N", "-e", sql], check=True, capture_output=True, text=True)
        return done.stdout


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def server(*names: str) -> Iterator[Server]:
    """A server with these databases; gone at the end, its files too."""
    home = scratch.folder("maria")
    home.chmod(0o755)
    subprocess.run(["chown", "mysql", home], check=True)
    made = Server(home, _free_port())
    subprocess.run(["mariadb-install-db", *made.base, "--auth-root-authentication-method=normal", "--skip-test-db"], check=True, capture_output=True)
    try:
        made.start()
        made.password.write_text(_SECRET + "\n")
        for name in names:
            made.say(f"create database {name} character set utf8mb4; grant all on {name}.* to {name}@'127.0.0.1' identified by '{_SECRET}';")
        yield made
    finally:
        made.stop()
        subprocess.run(["rm", "-rf", home], check=True)


def _wait(made: Server) -> None:
    until = time.monotonic() + _READY_S
    while True:
        try:
            made.say("select 1")
        except subprocess.CalledProcessError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
