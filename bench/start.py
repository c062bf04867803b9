"""Starting one instance of ``tiny``: through the whole cloud, and by ``virsh create`` on the same libvirt, alternating; then deleting.

The image is in the node's cache for both. A is from the POST to the state ``running``; B from the start of virsh to its
end, with the same machine, files and bridge. Both are verified by asking libvirt, which says that the machine runs, and that it
knows none of that name once it was taken away: ours with its disk, leases and DHCP entry, virsh's by ``destroy``. Then 20 of each
are deleted at once: ours by 20 DELETEs one after the other until the last is gone, virsh's by 20 ``destroy`` at the same time.
"""

from __future__ import annotations

import time
from typing import Any

import httpx

from bench.cloud import client_of, fresh
from bench.many import instances, until
from bench.virsh import Twin

RUNS = 9
AT_ONCE, ROUNDS_AT_ONCE = 20, 3
_SINGLE = 0
Runs = dict[str, list[float]]


def measure() -> dict[str, Any]:
    """Seconds."""
    runs: Runs = {}
    with fresh() as cloud:
        cloud.host("up")
        with client_of(cloud) as client:
            twin = Twin(cloud, client)
            for _ in range(RUNS):
                _through_cloud(client, runs, twin)
                _by_virsh(runs, twin)
            for _ in range(ROUNDS_AT_ONCE):
                _many_through_cloud(client, runs, twin)
                _many_by_virsh(runs, twin)
    return {"runs": runs}


def _note(runs: Runs, what: str, began: float) -> None:
    runs.setdefault(f"{what}, s", []).append(time.monotonic() - began)


def _through_cloud(client: httpx.Client, runs: Runs, twin: Twin) -> None:
    began = time.monotonic()
    made = client.post("/api/v1/instances/", json={"image": "tiny"}).raise_for_status().json()["results"][0]
    _note(runs, "POST answered", began)
    _becomes(client, made["id"], "running", ("queued", "starting"))
    _note(runs, "A cloud: POST to running", began)
    assert twin.state(made["id"]) == "running"
    began = time.monotonic()
    client.delete(f"/api/v1/instances/{made['id']}/").raise_for_status()
    _becomes(client, made["id"], "deleted", ("running", "stopping", "deleting"))
    _note(runs, "A cloud: DELETE to nothing left", began)
    assert made["id"] not in twin.names()


def _becomes(client: httpx.Client, instance: str, state: str, before: tuple[str, ...]) -> None:
    while (seen := client.get(f"/api/v1/instances/{instance}/").json())["state"] != state:
        assert seen["state"] in before, seen
        time.sleep(0.005)


def _by_virsh(runs: Runs, twin: Twin) -> None:
    began = time.monotonic()
    twin.create(_SINGLE)
    _note(runs, "B virsh create", began)
    assert twin.running() == 1
    began = time.monotonic()
    twin.destroy(_SINGLE)
    _note(runs, "B virsh destroy", began)
    assert twin.running() == 0


def _many_through_cloud(client: httpx.Client, runs: Runs, twin: Twin) -> None:
    client.post("/api/v1/instances/", json={"image": "tiny", "count": AT_ONCE}).raise_for_status()
    until(lambda: len(instances(client, "running")) == AT_ONCE, "they do not all run")
    made = [row["id"] for row in instances(client, "running")]
    assert all(twin.state(each) == "running" for each in made)
    began = time.monotonic()
    for each in made:
        client.delete(f"/api/v1/instances/{each}/").raise_for_status()
    until(lambda: {row["id"] for row in instances(client)}.isdisjoint(made), "they are not deleted", 0.02)
    _note(runs, f"A cloud: {AT_ONCE} DELETEs at once to nothing left", began)
    assert set(made).isdisjoint(twin.names())


def _many_by_virsh(runs: Runs, twin: Twin) -> None:
    for number in range(AT_ONCE):
        twin.create(number)
    assert twin.running() == AT_ONCE
    began = time.monotonic()
    twin.gone(range(AT_ONCE))
    _note(runs, f"B {AT_ONCE} virsh destroy at once", began)
    assert twin.running() == 0
