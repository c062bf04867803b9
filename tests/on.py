"""``python -m tests.on mariadb s3 -- tests/flow tests/api``: suites on a MariaDB server and an S3 store that are started for it and go with it.

Without words behind ``--``: the flows, the API and what it writes. The simulator is not among them: its databases are copied as bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.support import private_mariadb
from tests.support.private_swift import SECRET_KEY, private_swift

ROOT = Path(__file__).resolve().parents[1]
SUITES = ("tests/flow", "tests/api", "tests/console")


def main(words: list[str]) -> int:
    """The exit code of pytest; 2 for a wrong use."""
    at = words.index("--") if "--" in words else len(words)
    asked, rest = words[:at], words[at + 1 :]
    if not asked or set(asked) - {"mariadb", "s3"}:
        print(__doc__, file=sys.stderr)
        return 2
    environment = dict(os.environ)
    with ExitStack() as servers:
        if "mariadb" in asked:
            server = servers.enter_context(private_mariadb.server())
            server.say(f"create user tests@'127.0.0.1' identified by '{server.password.read_text().strip()}'; grant all on *.* to tests@'127.0.0.1'")
            server.say("set global innodb_flush_log_at_trx_commit = 0")  # no power cut is tried here, and it is much quicker
            environment["TESTS_ON_MARIADB"] = f"{server.port} {server.password}"
        if "s3" in asked:
            swift = servers.enter_context(private_swift())
            secret = swift.home / "secret"
            secret.write_text(SECRET_KEY)
            environment["TESTS_ON_S3"] = f"{swift.endpoint} {secret}"
        return subprocess.run([sys.executable, "-m", "pytest", *(rest or SUITES)], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
