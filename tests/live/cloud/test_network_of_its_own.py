"""A network beside the cluster's own, on a real host: a bridge and a DHCP server of its own, and a guest that is reached in it."""

import subprocess

import httpx
import pytest

from luhyaapi.errors import CODES
from tests.support.real_cloud import BASE

pytestmark = pytest.mark.live
SUBNET = "10.198.7.0/24"


def _page(address):
    try:
        return httpx.get(f"http://{address}/", timeout=2).text
    except httpx.HTTPError:
        return ""


def _bridge():
    return subprocess.run(["ip", "link", "show", "dev", f"edu{BASE}-1"], capture_output=True, check=False).returncode == 0


def test_a_guest_is_reached_in_a_network_of_its_own(cloud):
    made = cloud.json("network", "create", "--name", "class-7", "--subnet", SUBNET, "--range", "10.198.7.50-10.198.7.60")
    assert cloud.soon(_bridge)
    one = cloud.json("instance", "run", "--image", "tiny", "--network", "class-7")
    (nic,) = one["nics"]
    assert (nic["network"], nic["ip"]) == (made["id"], "10.198.7.50")
    assert cloud.soon(lambda: _page(nic["ip"])).splitlines()[0] == one["id"]
    cloud.call("network", "delete", "class-7", "--yes", code=CODES["state"].exit)
    cloud.call("instance", "delete", one["id"], "--yes")
    cloud.call("network", "delete", "class-7", "--yes")
    assert cloud.soon(lambda: not _bridge())
    assert cloud.json("network", "list") == []
