"""The metadata service against real packets: guests that ask, one that lies, a neighbour host, with and without the gateway here."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from luhyaapi import clock, process
from luhyaapi.edge import RULES
from luhyaapi.edge.plan import METADATA, METADATA_MAC, Card, RulesPlan, Segment, metadata_link
from luhyaapi.errors import Failed
from nc.drivers import metadata_bridge, metadata_http
from nc.drivers.metadata_base import Answer, Asker, Question
from nc.drivers.metadata_bridge import BridgeMetadata
from tests.support import edge_bed
from tests.support.edge_bed import BRIDGE_MAC, FAR, HOST, IPS, MACS, A, B, Bed
from tests.support.guarded_metadata import GuardedMetadata

pytestmark = pytest.mark.live
LINK = metadata_link("br0")
ARP = 0x0806
ASKERS = [Asker("br0", edge_bed.TAPS[guest], MACS[guest], IPS[guest]) for guest in (A, B)]


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    try:
        made.up()
        with made.inside(HOST):
            yield made
    finally:
        made.down()


@pytest.fixture(params=sorted(set(RULES) - {"fake"}))
def door(request: pytest.FixtureRequest, bed: Bed) -> Iterator[BridgeMetadata]:
    del bed
    made = GuardedMetadata(_who, request.param)
    yield made
    made.serve(())
    made.close()


def _who(bridge: str, ip: str, question: Question) -> Answer:
    return Answer(200, f"{question.method} {question.path} for {bridge} {ip}")


def asked(bed: Bed, guest: str, source: str = "", patience_s: float = edge_bed.PATIENCE_S, address: str = METADATA) -> str:
    """What a guest is answered; empty when nothing comes."""
    client = bed.connect(guest, address, 80, source, patience_s)
    if client is None:
        return ""
    with client:
        told = b""
        with contextlib.suppress(ConnectionResetError):  # it had too many
            client.sendall(b"GET /latest/ HTTP/1.1\r\nHost: x\r\n\r\n")
            while piece := client.recv(4096):
                told += piece
    return told.decode().partition("\r\n\r\n")[2]


def answer_for(guest: str) -> str:
    return f"GET /latest/ for br0 {IPS[guest]}"


def is_deaf(bed: Bed, guest: str, source: str = "", address: str = METADATA) -> bool:
    return not asked(bed, guest, source, edge_bed.SILENCE_S, address)


def on_link(bed: Bed, *guests: str) -> None:
    """They look for the address on their own network, and not behind their gateway."""
    for guest in guests:
        bed.ip(guest, "route", "add", f"{METADATA}/32", "dev", "eth0")


def test_each_guest_is_told_of_itself_by_its_gateway_and_on_its_link(bed: Bed, door: BridgeMetadata) -> None:
    assert is_deaf(bed, A)
    door.serve(ASKERS)
    for _ in range(2):
        for guest in (A, B):
            assert asked(bed, guest) == answer_for(guest)
        door.serve(ASKERS)
    on_link(bed, A, B)
    for guest in (A, B):
        assert asked(bed, guest) == answer_for(guest)


def test_also_where_the_gateway_is_another_host_or_none(bed: Bed, door: BridgeMetadata) -> None:
    bed.ip(HOST, "address", "flush", "dev", "br0")
    for guest in (A, B):
        bed.ip(guest, "route", "replace", "default", "via", IPS[FAR])
    door.serve(ASKERS)
    far = bed.tap(FAR)
    assert [asked(bed, guest) for guest in (A, B)] == [answer_for(A), answer_for(B)]
    bed.ip(A, "neighbour", "replace", IPS[FAR], "lladdr", "02:00:0a:4d:00:99", "dev", "eth0")
    assert asked(bed, A) == answer_for(A), "a router that is not there"
    on_link(bed, A, B)
    assert asked(bed, A) == answer_for(A)
    far.setblocking(False)
    assert not heard(far), "nobody outside of the host hears of it"


def heard(card: socket.socket) -> list[bytes]:
    """Frames a card got that name the address or its MAC."""
    found = []
    while True:
        try:
            frame = card.recv(2048)
        except BlockingIOError:
            return found
        if socket.inet_aton(METADATA) in frame or edge_bed.mac(METADATA_MAC) in frame:
            found.append(frame)


def test_the_hosts_own_networks_may_look_alike(bed: Bed, door: BridgeMetadata) -> None:
    """An uplink in the guests' subnet, a route of the host for just that address, and the strictest check of sources."""
    bed.ip(HOST, "address", "flush", "dev", "br0")
    bed.ip(HOST, "address", "add", "10.77.0.77/24", "dev", "wan0")
    bed.ip(HOST, "address", "add", f"{METADATA}/32", "dev", "lo")
    bed.sysctl(HOST, "ipv4/conf/all/rp_filter", "1")
    bed.ip(A, "neighbour", "replace", edge_bed.GATEWAY, "lladdr", BRIDGE_MAC, "dev", "eth0")
    on_link(bed, B)
    door.serve(ASKERS)
    for guest in (A, B):
        assert asked(bed, guest) == answer_for(guest)


@pytest.mark.parametrize("gateway", [True, False])
@pytest.mark.parametrize("name", sorted(set(RULES) - {"fake"}))
def test_a_plan_that_judges_its_cards_serves_them_alike(bed: Bed, name: str, gateway: bool) -> None:
    """Guests that may not talk to each other, and no way out."""
    rules = RULES[name]("test")
    segment = Segment(name="desk", bridge="br0", subnets=(edge_bed.SUBNET,), gateway=gateway, talk=False, way_out=False, metadata=True)
    cards = tuple(Card(tap=a.tap, mac=a.mac, addresses=(a.ip,), segment="desk") for a in ASKERS)
    plan = RulesPlan(name="test", uplinks=("wan0",), segments=(segment,), cards=cards)
    rules.apply(plan)
    door = BridgeMetadata(_who)
    door.serve(ASKERS)
    assert rules.found() == plan
    for guest in (A, B):
        assert asked(bed, guest) == answer_for(guest)
    bed.ip(B, "address", "add", f"{IPS[A]}/32", "dev", "eth0")
    assert is_deaf(bed, B, IPS[A])
    bed.listen(A, 80)
    assert bed.is_closed(B, IPS[A], 80)
    door.close()
    rules.down()
    rules.close()


def test_who_lies_about_its_address_gets_nothing(bed: Bed, door: BridgeMetadata) -> None:
    door.serve(ASKERS)
    bed.ip(B, "address", "add", f"{IPS[A]}/32", "dev", "eth0")
    for far_from_home in (False, True):
        if far_from_home:  # the one whose address it is does not answer
            bed.ip(A, "link", "set", "eth0", "down")
        assert is_deaf(bed, B, IPS[A])
        assert asked(bed, B, IPS[B]) == answer_for(B)
    bed.ip(B, "link", "set", "eth0", "address", MACS[A])
    assert is_deaf(bed, B, IPS[A])
    assert is_deaf(bed, B, IPS[B])


def test_without_guards_an_answer_goes_to_whose_address_it_is(bed: Bed) -> None:
    """Who lies gets nothing even so, as long as it does not take the other's MAC too, which only a guard forbids."""
    door = BridgeMetadata(_who)
    door.serve(ASKERS)
    on_link(bed, A, B)
    assert asked(bed, A) == answer_for(A)
    bed.ip(B, "address", "add", f"{IPS[A]}/32", "dev", "eth0")
    bed.ip(B, "address", "add", "10.77.0.12/32", "dev", "eth0")
    assert is_deaf(bed, B, IPS[A])
    assert is_deaf(bed, B, "10.77.0.12"), "nobody's address is not answered at all"
    assert asked(bed, B, IPS[B]) == answer_for(B)
    door.close()


def test_the_gateway_and_neighbour_hosts_get_nothing(bed: Bed, door: BridgeMetadata) -> None:
    door.serve(ASKERS)
    assert asked(bed, A) == answer_for(A)
    on_link(bed, FAR)
    bed.ip(HOST, "route", "add", f"{METADATA}/32", "dev", "br0")
    for where, source in ((FAR, ""), (FAR, IPS[FAR]), (HOST, ""), (HOST, edge_bed.GATEWAY)):
        assert is_deaf(bed, where, source), (where, source)
    bed.ip(A, "link", "set", "eth0", "down")
    bed.ip(FAR, "address", "add", f"{IPS[A]}/32", "dev", "eth0")
    bed.ip(FAR, "neighbour", "replace", METADATA, "lladdr", METADATA_MAC, "dev", "eth0")
    assert is_deaf(bed, FAR, IPS[A])
    bed.ip(HOST, "address", "add", f"{IPS[A]}/32", "dev", "br0")
    bed.ip(HOST, "neighbour", "replace", METADATA, "lladdr", METADATA_MAC, "dev", "br0")
    assert is_deaf(bed, HOST, IPS[A])


def test_nobody_else_has_the_address(bed: Bed, door: BridgeMetadata) -> None:
    """Neither a guest nor a neighbour host can pass for the service, nor take its MAC away."""
    door.serve(ASKERS)
    liar = bed.listen(FAR, 80)
    bed.ip(FAR, "address", "add", f"{METADATA}/32", "dev", "eth0")
    far, b = bed.tap(FAR), bed.tap(B)
    on_link(bed, A)
    stolen = edge_bed.ether(METADATA_MAC, edge_bed.ipv4(METADATA, IPS[A], edge_bed.udp(80, 9)), to=MACS[A])
    claim = edge_bed.ether(MACS[FAR], edge_bed.arp(2, MACS[FAR], METADATA, IPS[A]), ARP)
    honest = edge_bed.ether(MACS[FAR], edge_bed.ipv4(IPS[FAR], IPS[A], edge_bed.udp(1000, 9)), to=MACS[A])
    receiver = bed.tap(A)
    assert edge_bed.arrive([claim, edge_bed.ether(MACS[FAR], stolen[14:], to=MACS[A]), stolen], far, receiver, honest) == []
    from_b = edge_bed.ether(MACS[B], edge_bed.ipv4(IPS[B], IPS[A], edge_bed.udp(1000, 9)), to=MACS[A])
    assert edge_bed.arrive([edge_bed.ether(MACS[B], edge_bed.arp(2, MACS[B], METADATA, IPS[A]), ARP)], b, receiver, from_b) == []
    assert asked(bed, A) == answer_for(A)
    liar.settimeout(edge_bed.SILENCE_S)
    with pytest.raises(TimeoutError):
        liar.accept()


def test_only_its_one_port_is_there(bed: Bed, door: BridgeMetadata) -> None:
    bed.listen(HOST, 22)
    bed.listen(HOST, 80)
    door.serve(ASKERS)
    assert asked(bed, A) == answer_for(A)
    assert bed.is_closed(A, METADATA, 22)
    assert bed.run(A, "busybox", "ping", "-c", "1", "-W", "1", METADATA, check=False).code == 1
    assert bed.is_closed(A, edge_bed.GATEWAY, 22), "nor is a door of the host"


def test_a_guest_that_went_is_answered_no_more_and_one_that_moved_is(bed: Bed, door: BridgeMetadata) -> None:
    door.serve(ASKERS)
    assert asked(bed, B) == answer_for(B)
    door.serve(ASKERS[:1])
    assert (asked(bed, A), is_deaf(bed, B)) == (answer_for(A), True)
    other = Asker("br0", edge_bed.TAPS[B], MACS[B], "10.77.0.33")
    bed.ip(B, "address", "add", "10.77.0.33/24", "dev", "eth0")
    door.serve([ASKERS[0], other])
    assert asked(bed, B, "10.77.0.33") == "GET /latest/ for br0 10.77.0.33"
    assert is_deaf(bed, B, IPS[B])
    door.serve(())
    assert is_deaf(bed, A)
    assert LINK not in bed.run(HOST, "ip", "link").text


def test_what_was_taken_away_is_made_again(bed: Bed, door: BridgeMetadata) -> None:
    door.serve(ASKERS)
    bed.ip(HOST, "link", "del", LINK)
    assert is_deaf(bed, A)
    door.serve(ASKERS)
    assert asked(bed, A) == answer_for(A)
    for guest in (A, B, FAR):
        bed.ip(HOST, "link", "set", edge_bed.TAPS[guest], "nomaster")
    bed.ip(HOST, "link", "del", "br0")
    door.serve(ASKERS)
    bed.bridge()
    for guest in (A, B, FAR):
        bed.ip(HOST, "link", "set", edge_bed.TAPS[guest], "master", "br0", "up")
    door.serve(ASKERS)
    assert asked(bed, A) == answer_for(A)


def test_another_process_takes_over(bed: Bed, door: BridgeMetadata) -> None:
    door.serve(ASKERS)
    after = BridgeMetadata(lambda *_: Answer(200, "the next"))
    after.serve(ASKERS)
    assert asked(bed, A) == "the next"
    after.close()
    assert LINK not in bed.run(HOST, "ip", "link").text
    door.serve(ASKERS)
    assert asked(bed, A) == answer_for(A)


def test_one_guest_cannot_keep_the_others_waiting(bed: Bed, door: BridgeMetadata) -> None:
    door.serve(ASKERS)
    silent = [bed.connect(B, METADATA, 80) for _ in range(20)]
    assert all(silent)
    began = clock.monotonic()
    assert asked(bed, A) == answer_for(A)
    assert clock.monotonic() - began < metadata_http.WITHIN_S
    for each in silent[:8]:
        assert each is not None
        each.close()
    deadline = clock.monotonic() + edge_bed.PATIENCE_S
    while clock.monotonic() < deadline and not asked(bed, B):
        clock.sleep(0.05)
    assert asked(bed, B) == answer_for(B)


def test_a_room_that_cannot_be_is_said_and_leaves_nothing(bed: Bed) -> None:
    door = BridgeMetadata(_who)
    bed.ip(HOST, "link", "add", "odd0", "type", "veth", "peer", "name", "odd1")
    with pytest.raises(Failed) as caught:
        door.serve([Asker("odd0", "t", MACS[A], IPS[A])])
    assert caught.value.code == "network"
    assert metadata_link("odd0") not in process.run(["ip", "-n", bed.names[HOST], "link"], timeout_s=10).text
    with pytest.raises(Failed) as caught:
        door.serve([Asker("br0", edge_bed.TAPS[A], "no mac", IPS[A])])
    assert caught.value.code == "network"
    door.serve(ASKERS)
    on_link(bed, A)
    assert asked(bed, A) == answer_for(A)
    door.close()


def test_a_node_that_may_make_no_namespace_says_so(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    del bed
    monkeypatch.setattr(metadata_bridge, "_CLONE_NEWNET", 1)  # a flag there is not
    door = BridgeMetadata(_who)
    with pytest.raises(Failed, match="no room") as caught:
        door.serve(ASKERS)
    assert "CAP_SYS_ADMIN" in caught.value.hint
    door.close()


def test_frames_keep_to_the_service_alone(bed: Bed, door: BridgeMetadata) -> None:
    """Broadcasts of guests and of the host do not get in, and what asks for the address leaves no other tap."""
    door.serve(ASKERS)
    b, sender = bed.tap(B), bed.tap(A)
    question = edge_bed.ether(MACS[A], edge_bed.arp(1, MACS[A], IPS[A], METADATA), ARP)
    stray = edge_bed.ether(MACS[A], edge_bed.ipv4(IPS[A], METADATA, edge_bed.udp(1000, 9)), to=BRIDGE_MAC)
    honest = edge_bed.ether(MACS[A], edge_bed.ipv4(IPS[A], IPS[B], edge_bed.udp(1000, 9)), to=MACS[B])
    assert edge_bed.arrive([question, stray], sender, b, honest) == []
    sender.settimeout(edge_bed.PATIENCE_S)
    while (frame := sender.recv(2048))[12:14] != struct.pack("!H", ARP) or frame[20:22] != b"\0\2":
        pass
    assert frame[6:12] == edge_bed.mac(METADATA_MAC)
