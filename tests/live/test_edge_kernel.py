"""What the drivers of packet rules say of a host that cannot do it, and the settings they make; in namespaces the test makes."""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from luhyaapi import process
from luhyaapi.contracts.vocabulary import Protocol
from luhyaapi.edge import kernel, libnft
from luhyaapi.edge.iptables import IptablesRules
from luhyaapi.edge.libnft import Nftables
from luhyaapi.edge.nft import NftRules
from luhyaapi.edge.plan import (
    Forward,
    RulesPlan,
    Segment,
)
from luhyaapi.errors import Failed

pytestmark = pytest.mark.live
BRIDGED = RulesPlan(name="test", uplinks=("wan0",), segments=(Segment(name="a", bridge="br0", subnets=("10.77.0.0/24", "fd00:77::/64")),))
HERE = RulesPlan(name="test", segments=(Segment(name="a", bridge="br0", subnets=("10.77.0.0/24",), gateway=True),))


@pytest.fixture(autouse=True)
def _namespace() -> Iterator[None]:
    name = f"edu-kernel-{secrets.token_hex(3)}"
    process.run(["ip", "netns", "add", name], timeout_s=10)
    netns.pushns(name)
    try:
        for words in ("br0 type bridge", "wan0 type veth peer name wan1"):
            process.run(["ip", "link", "add", *words.split()], timeout_s=10)
        yield
    finally:
        netns.popns()
        process.run(["ip", "netns", "del", name], timeout_s=10)


@pytest.fixture
def nft() -> Iterator[Nftables]:
    handle = Nftables()
    yield handle
    handle.close()


@pytest.fixture
def sysctls(tmp_path: Path) -> Path:
    for file, value in (("bridge/bridge-nf-call-iptables", "1"), ("ipv4/conf/br0/forwarding", "0"), ("ipv4/conf/wan0/forwarding", "1"),
                        ("ipv6/conf/wan0/accept_ra", "1"), ("ipv6/conf/all/forwarding", "0")):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(f"{value}\n")
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text().strip() for file in folder.rglob("*") if file.is_file()}


def test_a_missing_library_is_named_with_its_package() -> None:
    with pytest.raises(Failed) as caught:
        Nftables("libnothing.so.1")
    assert (caught.value.code, caught.value.hint) == ("missing", "Install the package libnftables1.")


def test_what_nftables_does_not_take_is_said_in_one_line(nft: Nftables) -> None:
    with pytest.raises(Failed, match="No such file") as caught:
        nft.run("delete table inet nothing\n" + "# long\n" * 1000)
    assert caught.value.code == "network"
    assert len(caught.value.why) < 301
    assert "\n" not in caught.value.why


def test_a_transaction_is_all_or_nothing_and_counted(nft: Nftables) -> None:
    before = nft.generation()
    nft.run("add table inet one\nadd table inet two")
    assert nft.generation() == before + 1
    with pytest.raises(Failed):
        nft.run("add table inet three\ndelete table inet nothing")
    assert {each["table"]["name"] for each in nft.read("list tables")} == {"one", "two"}
    assert nft.generation() == before + 1


@pytest.mark.parametrize("answer", [
    b"\x24\0\0\0\2\0" + bytes(10) + b"\xff\xff\xff\xff" + bytes(16),
    b"\x14\0\0\0\x0f\x0a" + bytes(14),
    b"\x1c\0\0\0\x0f\x0a" + bytes(14) + b"\0\0\x09\0" + bytes(4),
    b"\x14\0\0\0\3\0" + bytes(14),
])
def test_an_answer_without_a_number_is_none(answer: bytes) -> None:
    with pytest.raises(OSError, match=r"Operation not permitted|the kernel answered"):
        libnft._generation(answer)


def test_a_kernel_that_does_not_answer_is_asked_anew(nft: Nftables) -> None:
    first = nft.generation()
    assert nft._opened is not None
    context, netlink = nft._opened
    os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), netlink.fileno())
    with pytest.raises(Failed, match="could not be read"):
        nft.generation()
    assert nft._opened is None
    assert (nft.generation(), context != 0, netlink.fileno()) == (first, True, -1)


def test_without_rights_the_kernel_says_no() -> None:
    """In a user namespace of its own nobody has rights here."""
    code = "from luhyaapi.edge.libnft import Nftables; Nftables().generation()"
    done = process.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", "python3", "-c", code], timeout_s=30, check=False,
                       env={"PYTHONPATH": ":".join([str(Path(__file__).parents[2]), *sys.path])})
    assert b"The packet rules could not be read: [Errno 1] Operation not permitted" in done.stderr


def test_a_bridge_with_its_gateway_elsewhere_is_shown_to_the_rules() -> None:
    Path("/proc/sys/net/bridge/bridge-nf-call-iptables").write_text("0")
    assert not kernel.is_ready(BRIDGED)
    kernel.prepare(BRIDGED)
    assert kernel.is_ready(BRIDGED)
    said = process.run(["ip", "-json", "-details", "link", "show", "dev", "br0"], timeout_s=5).text
    assert '"nf_call_iptables":1' in said.replace(" ", "")
    assert Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text() == "0\n"
    assert Path("/proc/sys/net/ipv4/conf/wan0/forwarding").read_text() == "1\n"
    assert Path("/proc/sys/net/ipv4/conf/wan1/forwarding").read_text() == "0\n"


def test_settings_are_those_of_the_plan_and_no_others(sysctls: Path) -> None:
    kernel.prepare(HERE, sysctls)
    assert contents(sysctls)["ipv4/conf/br0/forwarding"] == "1"
    assert contents(sysctls)["ipv6/conf/all/forwarding"] == "0"
    kernel.prepare(BRIDGED, sysctls)
    assert contents(sysctls) == {
        "bridge/bridge-nf-call-iptables": "1", "ipv4/conf/br0/forwarding": "1", "ipv4/conf/wan0/forwarding": "1",
        "ipv6/conf/wan0/accept_ra": "2", "ipv6/conf/all/forwarding": "1",
    }
    (sysctls / "ipv6/conf/wan0/accept_ra").write_text("0\n")
    assert kernel.is_ready(BRIDGED, sysctls)


def test_a_kernel_without_br_netfilter_is_named(sysctls: Path) -> None:
    (sysctls / "bridge/bridge-nf-call-iptables").unlink()
    (sysctls / "bridge").rmdir()
    kernel.prepare(HERE, sysctls)
    with pytest.raises(Failed) as caught:
        kernel.prepare(BRIDGED, sysctls)
    assert (caught.value.code, "br_netfilter" in caught.value.what) == ("missing", True)


def test_a_module_we_loaded_judges_nothing_of_others(sysctls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = sysctls / "bridge"
    (bridge / "bridge-nf-call-iptables").unlink()
    bridge.rmdir()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "modprobe").write_text(f'#!/bin/sh\nmkdir {bridge}; for n in ip ip6 arp; do echo 1 > {bridge}/bridge-nf-call-"$n"tables; done\n')
    (programs / "modprobe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    kernel.prepare(BRIDGED, sysctls)
    assert set(contents(bridge).values()) == {"0"}


def test_a_setting_that_is_not_taken_is_trouble_of_the_host(sysctls: Path) -> None:
    (sysctls / "ipv4/conf/br0/forwarding").unlink()
    (sysctls / "ipv4/conf/br0/forwarding").symlink_to("/proc/sys/kernel/ostype")
    with pytest.raises(Failed, match="could not be changed") as caught:
        kernel.prepare(HERE, sysctls)
    assert caught.value.code == "network"


def test_links_that_cannot_be_read_or_set_are_trouble_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = process.run(["which", "ip"], timeout_s=5).text.strip()
    program = tmp_path / "ip"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for refused, what in (("-batch", "could not be set up"), ("-json", "could not be read")):
        program.write_text(f'#!/bin/sh\n[ "$1" = {refused} ] && echo no >&2 && exit 2\nexec {real} "$@"\n')
        program.chmod(0o755)
        with pytest.raises(Failed, match=what) as caught:
            kernel.prepare(BRIDGED)
        assert (caught.value.code, caught.value.why) == ("network", "no")


def only_ip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other program is to be found."""
    (folder / "ip").symlink_to(process.run(["which", "ip"], timeout_s=5).text.strip())
    monkeypatch.setenv("PATH", str(folder))


def test_missing_programs_are_named_with_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_ip(tmp_path, monkeypatch)
    with pytest.raises(Failed) as caught:
        IptablesRules("test").apply(HERE)
    assert (caught.value.code, caught.value.hint) == ("missing", "Install the package iptables.")


def test_what_one_program_does_not_take_none_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = IptablesRules("test")
    rules.apply(HERE)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    forward = Forward(protocol=Protocol.TCP, address="192.0.2.1", port=80, to="10.77.0.10", to_port=80)
    for program in ("ip6tables-restore", "ebtables-restore"):
        (tmp_path / program).write_text("#!/bin/sh\necho it says no >&2\nexit 1\n")
        (tmp_path / program).chmod(0o755)
        with pytest.raises(Failed, match="it says no") as caught:
            rules.apply(HERE.model_copy(update={"forwards": (forward,)}))
        assert caught.value.code == "network"
        (tmp_path / program).unlink()
        assert rules.found() == HERE
    rules.down()


def test_a_program_that_cannot_run_is_not_taken_for_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_ip(tmp_path, monkeypatch)
    for text, code, what in ((b"\0 no program", "program", "cannot be started"), (b"#!/bin/sh\nexit 1\n", "network", "could not be read")):
        (tmp_path / "ebtables-save").write_bytes(text)
        (tmp_path / "ebtables-save").chmod(0o755)
        with pytest.raises(Failed, match=what) as caught:
            IptablesRules("test").apply(HERE)
        assert caught.value.code == code


def test_strangers_who_change_rules_meanwhile_are_noticed() -> None:
    rules, other, stop = NftRules("test"), Nftables(), threading.Event()
    forwards = [Forward(protocol=Protocol.TCP, address="192.0.2.1", port=port, to="10.77.0.10", to_port=80) for port in range(1, 60)]
    wanted = HERE.model_copy(update={"forwards": tuple(forwards)})
    other.run("add table ip stranger")

    def meddle() -> None:
        while not stop.is_set():
            other.run("add chain ip stranger c\ndelete chain ip stranger c")
            other.run("flush chain inet educloud-test judge")

    rules.apply(HERE)
    before = other.read("list chain inet educloud-test judge")
    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        for forward in forwards:
            rules.exchange((), (forward,))
    finally:
        stop.set()
        meddler.join()
    rules.apply(wanted)
    assert rules.found() == wanted
    assert other.read("list chain inet educloud-test judge") == before
    rules.down()
    rules.close()
    other.close()
