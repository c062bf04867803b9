"""The same machine without a cloud: what ``virsh`` makes of an instance's definition, on the libvirt that the cloud's node uses."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from lxml import etree

from tests.support.real_cloud import BASE, Cloud

_PATIENCE_S = 120.0
_PORTS_FROM = BASE + 450
_BARE = "bare-"


class Twin:
    """Any number of machines like one of ``tiny`` that the cloud made and stopped, each with a name, MAC, tap, screen and log of its own."""

    def __init__(self, cloud: Cloud, client: httpx.Client) -> None:
        self._client = client
        self._uri = f"qemu:///system?socket={cloud.environ['EDUCLOUD_HOME']}/hypervisor/run/libvirt/libvirt-sock"
        made = client.post("/api/v1/instances/", json={"image": "tiny"}).raise_for_status().json()["results"][0]
        self._path = f"/api/v1/instances/{made['id']}/"
        self._folder = Path(cloud.environ["EDUCLOUD_HOME"]) / "nc" / "instances" / made["id"]
        assert cloud.soon(lambda: client.get(self._path).json()["state"] == "running")
        self._xml = self._virsh("dumpxml", "--inactive", made["id"]).encode()
        cloud.call("instance", "stop", made["id"])

    def close(self) -> None:
        """The one that the cloud made goes too."""
        self._client.delete(self._path).raise_for_status()

    def create(self, number: int) -> None:
        """It runs, by a virsh of its own. Raises AssertionError when virsh fails."""
        self._virsh("create", "/dev/stdin", stdin=self._definition(number))

    def booted(self, number: int) -> None:
        """It runs, and its console has said that it is up."""
        self._log(number).unlink(missing_ok=True)
        self.create(number)
        ends = time.monotonic() + _PATIENCE_S
        while " is up" not in self._log(number).read_text(errors="replace"):
            assert time.monotonic() < ends, f"{_name(number)} does not boot"
            time.sleep(0.1)

    def destroy(self, number: int) -> None:
        """It is gone, by a virsh of its own."""
        self._virsh("destroy", _name(number))

    def gone(self, numbers: Iterable[int]) -> None:
        """All are destroyed at the same time."""
        each = list(numbers)
        with ThreadPoolExecutor(len(each)) as pool:
            list(pool.map(self.destroy, each))

    def running(self) -> int:
        """How many of them libvirt says run."""
        return sum(name.startswith(_BARE) for name in self._virsh("list", "--state-running", "--name").split())

    def names(self) -> list[str]:
        """Of all machines that libvirt knows, running or not."""
        return self._virsh("list", "--all", "--name").split()

    def state(self, name: str) -> str:
        """What libvirt says of a machine."""
        return self._virsh("domstate", name).strip()

    def _log(self, number: int) -> Path:
        return self._folder / f"{_name(number)}-console.log"

    def _definition(self, number: int) -> bytes:
        tree = etree.fromstring(self._xml)
        tree.find("name").text = _name(number)
        for tag in ("uuid", "metadata"):
            for element in tree.findall(tag):
                tree.remove(element)
        # sockets and logs beside those of the machine it is like, where its account may write
        for element in tree.find("devices").iter("source", "log", "listen", "graphics"):
            for key in ("path", "file", "socket"):
                if (element.tag, key) != ("source", "file") and element.get(key):
                    of = Path(element.get(key))
                    element.set(key, str(of.with_name(f"{_name(number)}-{of.name}")))
        for graphics in tree.iterfind("devices/graphics[@port]"):
            graphics.set("port", str(_PORTS_FROM + number))
        for card in tree.iterfind("devices/interface"):
            card.find("mac").set("address", f"02:00:00:00:01:{number:02x}")
            card.find("target").set("dev", f"bare{BASE}{number:02x}")
        return bytes(etree.tostring(tree))

    def _virsh(self, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(["virsh", "-c", self._uri, *words], input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def _name(number: int) -> str:
    return f"{_BARE}{number}"
