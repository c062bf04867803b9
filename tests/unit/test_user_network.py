"""Cards of QEMU's own network: exactly the leased address, exactly the leased ports, nothing else reached."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from luhyaapi.contracts.specs import Forward, Nic
from luhyaapi.errors import Failed, Refused
from nc.drivers.user_network import UserNetwork, netdev

SUBNET = "10.231.0.0/24"
INSTANCE = "ins-0000000a"


def nic(ip: str, *forwards: Forward) -> Nic:
    return Nic(mac="02:00:0a:e7:00:05", ip=ip, forwards=forwards)


def test_the_guest_gets_its_leased_address_and_is_reached_by_its_leased_ports() -> None:
    assert netdev("card0", nic("10.231.0.5", Forward(guest_port=80, port=9100), Forward(guest_port=22, port=9101)), SUBNET) == (
        "user,id=card0,net=10.231.0.0/24,host=10.231.0.1,dhcpstart=10.231.0.5,dns=10.231.0.254,ipv6=off,restrict=on,"
        "hostfwd=tcp:127.0.0.1:9100-10.231.0.5:80,hostfwd=tcp:127.0.0.1:9101-10.231.0.5:22"
    )


def test_no_service_of_the_network_has_the_guests_address() -> None:
    assert "dns=10.231.0.253," in netdev("c", nic("10.231.0.254"), SUBNET)
    smallest = netdev("c", nic("10.231.0.2"), "10.231.0.0/29")
    assert "dns=10.231.0.6," in smallest


@pytest.mark.parametrize("ip", ["10.231.0.0", "10.231.0.1", "10.231.0.255", "10.9.0.5", "10.231.0.300"])
def test_an_address_no_guest_can_have_is_refused(ip: str) -> None:
    with pytest.raises(Refused) as refusal:
        netdev("c", nic(ip), SUBNET)
    assert refusal.value.code == "invalid"


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="guest network"):
        netdev("c", nic("10.231.0.5"), "everything")


def test_a_lent_port_that_a_stranger_has_is_named_and_no_card_is_left(tmp_path: Path) -> None:
    network = UserNetwork(tmp_path / "cards")
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        with pytest.raises(Failed, match=str(taken)) as failure:
            network.plug(INSTANCE, nic("10.231.0.5", Forward(guest_port=80, port=taken)))
    assert failure.value.code == "network"
    assert network.found() == {}
    network.plug(INSTANCE, nic("10.231.0.5", Forward(guest_port=80, port=taken)))
    assert list(network.found().values()) == [INSTANCE]


def test_a_folder_that_cannot_be_written_is_trouble_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "cards").touch()
    with pytest.raises(Failed, match="could not be noted") as failure:
        UserNetwork(tmp_path / "cards").plug(INSTANCE, nic("10.231.0.5"))
    assert failure.value.code == "network"
