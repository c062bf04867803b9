"""A network beside the cluster's own, on a real host: a bridge and a DHCP server of its own, and a guest that is reached in it.

Somebody else is in that network too, with the address that would be lent first.
"""

import secrets
import subprocess

import httpx
import pytest

from luhyaapi.errors import CODES
from tests.support.real_cloud import BASE

pytestmark = pytest.mark.live
SUBNET, SUBNET6 = "10.198.7.0/24", "fd07:0:0:7::/64"
OTHER = "00:16:3e:00:00:07"


def _page(address):
    try:
        return httpx.get(f"http://{address}/", timeout=2).text
    except httpx.HTTPError:
        return ""


@pytest.fixture
def stranger():
    """``stranger(address)``: another machine has that address in the network."""
    name = f"edu-stranger-{secrets.token_hex(3)}"

    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    def move_in(address):
        ip("netns", "add", name)
        ip("link", "add", f"v{BASE}", "type", "veth", "peer", "name", "eth0", "address", OTHER, "netns", name)
        ip("link", "set", f"v{BASE}", "master", f"edu{BASE}-1", "up")
        ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")

    yield move_in
    subprocess.run(["ip", "netns", "del", name], check=False)


def _bridge():
    return subprocess.run(["ip", "link", "show", "dev", f"edu{BASE}-1"], capture_output=True, check=False).returncode == 0


def test_a_guest_is_reached_in_a_network_of_its_own(cloud, stranger):
    made = cloud.json("network", "create", "--name", "class-7", "--subnet", SUBNET, "--subnet6", SUBNET6, "--range", "10.198.7.50-10.198.7.60")
    assert cloud.soon(_bridge)
    stranger("10.198.7.50")
    cloud.json("network", "reserve", "class-7", "10.198.7.51", "--mac", "00:16:3e:00:00:08")
    one = cloud.json("instance", "run", "--image", "tiny", "--network", "class-7")
    (nic,) = one["nics"]
    assert (nic["network"], nic["ip"]) == (made["id"], "10.198.7.52")
    assert cloud.soon(lambda: _page(nic["ip"])).splitlines()[0] == one["id"]
    assert cloud.soon(lambda: _page(f"[{nic['ip6']}]")).splitlines()[0] == one["id"]
    taken, reserved, lent = cloud.json("network", "leases", "class-7")
    assert (taken["address"], taken["state"], taken["mac"]) == ("10.198.7.50", "taken", OTHER)
    assert (reserved["address"], reserved["state"]) == ("10.198.7.51", "reserved")
    assert (lent["address"], lent["state"], lent["instance"], lent["mac"], bool(lent["seen_at"])) == ("10.198.7.52", "lent", one["id"], nic["mac"], True)
    assert cloud.json("network", "usage", "class-7")["counts"] == {"free": 8, "lent": 1, "resting": 0, "reserved": 1, "taken": 1, "outside": 242}
    cloud.call("network", "delete", "class-7", "--yes", code=CODES["state"].exit)
    cloud.call("instance", "delete", one["id"], "--yes")
    cloud.call("network", "delete", "class-7", "--yes")
    assert cloud.soon(lambda: not _bridge())
    assert cloud.json("network", "list") == []
