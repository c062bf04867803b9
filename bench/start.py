"""Starting one instance of ``tiny``: through the whole cloud, and by ``virsh create`` on the same libvirt, alternating.

The image is in the node's cache for both. A is from the POST to the state ``running``; B from the start of virsh to its
end, with the same machine, files and bridge. Both are verified by asking libvirt; then each is taken away again, ours with
its disk, leases and DHCP entry, virsh's by ``destroy``. cpu seconds are those of the measuring
side only and so left out.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import Any

import httpx
from lxml import etree

from bench.cloud import client_of, fresh
from tests.support.real_cloud import BASE, Cloud

RUNS = 9


def measure() -> dict[str, Any]:
    """Seconds; ratio A by B of each pair, then the median."""
    with fresh() as cloud:
        cloud.host("up")
        return _measure(cloud)


def _measure(cloud: Cloud) -> dict[str, Any]:
    uri = f"qemu:///system?socket={cloud.environ['EDUCLOUD_HOME']}/hypervisor/run/libvirt/libvirt-sock"
    runs: dict[str, list[float]] = {"POST answered, s": [], "A cloud: POST to running, s": [], "B virsh create, s": [],
                                    "A cloud: DELETE to nothing left, s": [], "B virsh destroy, s": []}
    with client_of(cloud) as client:
        xml = _bare(uri, _through_cloud(client, {}, cloud)["id"], cloud)
        for _ in range(RUNS):
            _through_cloud(client, runs, cloud)
            began = time.monotonic()
            _virsh(uri, "create", "/dev/stdin", stdin=xml)
            runs["B virsh create, s"].append(time.monotonic() - began)
            assert _virsh(uri, "domstate", "bare").strip() == "running"
            began = time.monotonic()
            _virsh(uri, "destroy", "bare")
            runs["B virsh destroy, s"].append(time.monotonic() - began)
    return {"runs": runs, "ratios": {
        "start: A / B": _ratio(runs["A cloud: POST to running, s"], runs["B virsh create, s"]),
        "delete: A / B": _ratio(runs["A cloud: DELETE to nothing left, s"], runs["B virsh destroy, s"]),
    }}


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _through_cloud(client: httpx.Client, runs: dict[str, list[float]], cloud: Cloud) -> dict[str, Any]:
    began = time.monotonic()
    made = client.post("/api/v1/instances/", json={"image": "tiny"}).raise_for_status().json()["results"][0]
    answered = time.monotonic()
    while (seen := client.get(f"/api/v1/instances/{made['id']}/").json())["state"] != "running":
        assert seen["state"] in ("queued", "starting"), seen
        time.sleep(0.005)
    if runs:
        runs["POST answered, s"].append(answered - began)
        runs["A cloud: POST to running, s"].append(time.monotonic() - began)
        began = time.monotonic()
        client.delete(f"/api/v1/instances/{made['id']}/").raise_for_status()
        while (seen := client.get(f"/api/v1/instances/{made['id']}/").json())["state"] != "deleted":
            assert seen["state"] != "failed", seen
            time.sleep(0.005)
        runs["A cloud: DELETE to nothing left, s"].append(time.monotonic() - began)
    return dict(made)


def _bare(uri: str, instance: str, cloud: Cloud) -> bytes:
    """The same machine for virsh alone: another name, MAC, tap and screen; then ours goes."""
    tree = etree.fromstring(_virsh(uri, "dumpxml", "--inactive", instance))
    tree.find("name").text = "bare"
    for tag in ("uuid", "metadata"):
        for element in tree.findall(tag):
            tree.remove(element)
    for serial in tree.iterfind("devices/*/source[@path]"):
        serial.set("path", f"{cloud.home}/bare.log")
    for graphics in tree.iterfind("devices/graphics"):
        graphics.set("port", str(BASE + 499))
    for card in tree.iterfind("devices/interface"):
        card.find("mac").set("address", "02:00:00:00:00:01")
        card.find("target").set("dev", f"bare{BASE}")
    cloud.call("instance", "stop", instance)
    kept = {e.tag: e.text for e in tree.find("os") if e.tag in ("kernel", "initrd")}
    assert kept
    return bytes(etree.tostring(tree))


def _virsh(uri: str, *words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(["virsh", "-c", uri, *words], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
