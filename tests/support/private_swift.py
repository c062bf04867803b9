"""Swift with its S3 interface for one test or run: own ports of loopback, own folder, one drive, no service of the host."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import scratch

ACCESS_KEY, SECRET_KEY, REGION = "school:walrus", "lent-for-a-test-only", "us-east-1"
_SERVERS = Path(__file__).with_name("swift_servers.py")
_PYTHON = "/usr/bin/python3"
"""The one for which Debian's python3-swift is."""
_READY_S = 30.0
_PROXY = f"""pipeline = catch_errors gatekeeper cache s3api tempauth container-quotas proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

# tempauth insists on a cache; where nobody listens nothing is remembered, so a test sees every change at once
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1

[filter:s3api]
use = egg:swift#s3api
location = {REGION}
allow_multipart_uploads = false

[filter:tempauth]
use = egg:swift#tempauth
user_school_walrus = {SECRET_KEY} .admin
user_school_stranger = {SECRET_KEY}

[filter:container-quotas]
use = egg:swift#container_quotas
"""


class PrivateSwift:
    """``endpoint`` is where S3 is spoken, for ACCESS_KEY and SECRET_KEY. Its objects outlive :meth:`stop`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._ports = dict(zip(("account", "container", "object", "proxy"), _free_ports(4), strict=True))
        self._account = _account()
        self._servers: subprocess.Popen[bytes] | None = None
        self._write()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['proxy']}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.home / "log").open("ab") as log:
            self._servers = subprocess.Popen(
                [_PYTHON, "-c", _SERVERS.read_text(), self.home], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/",
                user=self._account.pw_uid, group=self._account.pw_gid, extra_groups=[] if os.geteuid() == 0 else None,
            )
        until = time.monotonic() + _READY_S
        while not all(map(_listens, self._ports.values())):
            if self._servers.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"Swift does not start; is python3-swift installed?\n{(self.home / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Every server dies at once, as in a power cut."""
        if self._servers and self._servers.poll() is None:
            self.freeze()
            for pid in self._pids():
                os.kill(pid, signal.SIGKILL)
            self._servers.communicate(timeout=10)
        self._servers = None

    def freeze(self) -> None:
        """Every server stands still; the kernel still takes connections for it."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def received(self) -> int:
        """Bytes its servers wrote anywhere since they started."""
        counts = [Path(f"/proc/{pid}/io").read_text().split() for pid in self._pids()]
        return sum(int(count[count.index("wchar:") + 1]) for count in counts)

    def quota(self, bucket: str, size: int) -> None:
        """Let a bucket hold no more than ``size`` bytes."""
        self._tell("POST", [bucket], {"X-Container-Meta-Quota-Bytes": str(size)})

    def mention(self, bucket: str, keys: list[str]) -> None:
        """Have empty objects in a bucket's list without being sent: a thousand take a second instead of twenty."""
        self._tell("PUT", [f"{bucket}/{key}" for key in keys], {
            "X-Size": "0", "X-Content-Type": "application/octet-stream", "X-Etag": "d41d8cd98f00b204e9800998ecf8427e",
        })

    def _pids(self) -> list[int]:
        """First the one that started the others: each of them is in a session of its own."""
        assert self._servers
        first = self._servers.pid
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    def _write(self) -> None:
        etc, drive = self.home / "etc", self.home / "drives" / "drive"
        for folder in (etc, drive.parent, drive):
            folder.mkdir()
        (etc / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\n")
        for kind, port in self._ports.items():
            main = _PROXY if kind == "proxy" else f"pipeline = {kind}-server\n\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
            (etc / f"{kind}.conf").write_text(
                f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nuser = {self._account.pw_name}\n"
                f"swift_dir = {etc}\ndevices = {drive.parent}\nmount_check = false\nfallocate_reserve = 0\n\n"
                f"[pipeline:main]\n{main}"
            )
        for folder in (self.home, etc, drive.parent, drive):
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)

    def _tell(self, method: str, paths: list[str], headers: dict[str, str]) -> None:
        """Requests to the container server itself, past the proxy and its rights."""
        door = http.client.HTTPConnection("127.0.0.1", self._ports["container"], timeout=10)
        for path in paths:
            door.request(method, f"/drive/0/AUTH_school/{path}", headers={"X-Timestamp": f"{time.time():.5f}", **headers})
            answer = door.getresponse()
            said = answer.read()
            assert answer.status < 300, f"{method} {path}: {answer.status} {said[:200]!r}"
        door.close()


@contextlib.contextmanager
def private_swift() -> Iterator[PrivateSwift]:
    """A Swift that runs; gone at the end, its files too."""
    home = _folder()
    private = PrivateSwift(home)
    try:
        private.start()
        yield private
    finally:
        private.stop()
        shutil.rmtree(home)


def _account() -> pwd.struct_passwd:
    """Whose servers they are: never root's."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("swift")
    except KeyError:
        raise AssertionError("There is no account swift: install Debian's python3-swift.") from None


def _folder() -> Path:
    """A new one where files take attributes: Swift keeps there what it knows of them."""
    for base in (scratch.BASE, Path(tempfile.gettempdir()), Path("/var/tmp")):
        home = scratch.folder("swift", base)
        try:
            os.setxattr(home, "user.swift.test", b"x" * 1024)
        except OSError:
            home.rmdir()
        else:
            return home
    raise AssertionError("No folder for Swift: none of /dev/shm, the temporary folder and /var/tmp takes extended attributes.")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        doors = [held.enter_context(socket.socket()) for _ in range(count)]
        for door in doors:
            door.bind(("127.0.0.1", 0))
        return [int(door.getsockname()[1]) for door in doors]


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
