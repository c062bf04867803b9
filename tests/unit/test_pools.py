"""Addresses, MACs and ports: never outside, never twice, and numbers when nothing is left."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc.services import pools
from luhyaapi import clock, subnets
from luhyaapi.conf import Network
from luhyaapi.errors import Refused

guest_subnets = st.builds(
    lambda number, prefix: ipaddress.IPv4Network((0x0A000000 | number, prefix), strict=False),
    st.integers(0, 2**24 - 1), st.integers(24, 29),
)


@settings(max_examples=30, deadline=None)
@given(guest_subnets)
def test_addresses_are_all_hosts_of_the_subnet_but_the_gateway(subnet: ipaddress.IPv4Network) -> None:
    lent = list(subnets.addresses(subnet))
    assert lent == [str(host) for host in subnet.hosts() if str(host) != subnets.gateway_of(subnet)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63), st.lists(st.binary(min_size=6, max_size=6), min_size=1, unique=True))
def test_an_ipv6_address_is_told_from_the_mac_and_never_the_gateways(number: int, macs: list[bytes]) -> None:
    subnet6 = f"{ipaddress.IPv6Address((0xFD << 120) | (number << 64) & ((1 << 120) - 1))}/64"
    found = [subnets.ip6_of(subnet6, mac.hex(":")) for mac in macs]
    assert len({*found, subnets.gateway6_of(subnet6)}) == len(macs) + 1
    assert all(ipaddress.IPv6Address(each) in ipaddress.IPv6Network(subnet6) for each in found)


def test_the_interface_of_a_mac_is_that_of_the_rfc() -> None:
    """The example of RFC 4291, appendix A, in bytes: 34-56-78-9A-BC-DE."""
    assert subnets.link_local("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"


@given(guest_subnets, st.text(max_size=12))
def test_macs_are_locally_administered_single_and_unique(subnet: ipaddress.IPv4Network, cluster: str) -> None:
    lent = [subnets.gateway_of(subnet), *subnets.addresses(subnet)]
    macs = [subnets.mac_of(cluster, ip) for ip in lent]
    assert len(set(macs)) == len(lent)
    assert all(mac.startswith("02:") and len(mac) == 17 for mac in macs)
    assert macs == [subnets.mac_of(cluster, ip) for ip in lent]


def test_when_something_is_free_again_is_told() -> None:
    now = clock.now()
    before = clock.use(clock.ManualClock(now))
    try:
        assert pools.when_free([now - 18.5, now - 3], 60, "never") == "The next is free in 42 s."
        assert pools.when_free([now - 61], 60, "never") == "The next is free in 1 s."
        assert pools.when_free([], 60, "Delete some.") == "Delete some."
    finally:
        clock.use(before)


def test_two_clusters_have_different_macs_for_one_address() -> None:
    assert subnets.mac_of("cc-00000001", "10.231.0.7") != subnets.mac_of("cc-00000002", "10.231.0.7")


def test_the_gateway_is_the_first_address() -> None:
    assert subnets.gateway_of(subnets.subnet_of("10.231.0.0/24")) == "10.231.0.1"


@pytest.mark.parametrize("text", [
    "", "everything", "10.231.0.1/24", "10.0.0.0/8", "10.231.0.0/30", "10.231.0.0/33", "127.0.0.0/24",
    "224.0.0.0/24", "169.254.0.0/24", "fd00::/64",
])
def test_a_subnet_that_is_none_for_guests_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        subnets.subnet_of(text)
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(("first", "count"), [(0, 10), (80, 10), (8700, 0), (8700, -1), (65000, 1000), (70000, 1)])
def test_ports_beyond_the_ordinary_are_refused(first: int, count: int) -> None:
    with pytest.raises(Refused) as caught:
        pools.ports(first, count)
    assert caught.value.code == "invalid"


def test_forwarded_ports_of_two_guests_never_meet() -> None:
    network = Network(display_first=8700, display_count=120, forwarded=(80, 22), forward_first=8820)
    lent = [f for display in pools.ports(8700, 120) for f in pools.forwards(network, display)]
    assert len({f.port for f in lent}) == len(lent) == 240
    assert {f.port for f in lent} == set(range(8820, 9060))
    assert [f.guest_port for f in pools.forwards(network, 8701)] == [80, 22]
    assert pools.forwards(Network(), 8700) == ()


def test_forwarded_ports_that_are_no_ports_are_refused() -> None:
    with pytest.raises(Refused, match="forwarded ports"):
        pools.forwards(Network(display_first=8700, forwarded=(80,), forward_first=65530), 8706)
