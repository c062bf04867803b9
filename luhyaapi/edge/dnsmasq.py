"""A guest network of a Linux host: one bridge by iproute2, one dnsmasq that serves exactly the leased addresses."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luhyaapi import clock, log, process, subnets
from luhyaapi.edge import routes, told
from luhyaapi.edge import uplink as cards
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork, check_network
from luhyaapi.errors import Failed

_log = log.get(__name__)
_START_S, _GRACE_S, _IP_S = 5.0, 2.0, 10.0
_LOG_KEPT = 1024 * 1024
_ALIAS_KEPT = 200
@dataclass(frozen=True)
class _Served:
    """What the last plan left: by whom it is served, the host file of each MAC, and which MAC that dnsmasq knows per address."""

    plan: EdgeNetwork
    link: str
    index: int
    pid: int
    hosts: dict[str, str]
    macs: dict[str, str]


@dataclass(frozen=True)
class _Link:
    """A device as the kernel shows it; ``ips`` and ``ip6s`` are its addresses as ``address/prefix``, without link-local ones."""

    index: int
    bridge: bool
    alias: str
    up: bool
    ips: tuple[str, ...]
    ip6s: tuple[str, ...]


class DnsmasqNetwork:
    """One guest network of this host, in the network namespace of the caller.

    ``folder`` holds dnsmasq.pid, dnsmasq.log, plan.json, lent.jsonl (what was lent since), running.json, hosts/ and names/ (one file per
    MAC). Where another program of this host answers for names on all addresses, guests are told no server of names.
    What dnsmasq 2.90 does, measured: it reads a new or rewritten file at once; a removed file it forgets only after
    SIGHUP; an address it has once leased it refuses to another MAC until it is restarted. So additions cost nothing,
    removals one signal, and an address that changes its MAC a restart (leases are for ever, so no guest notices).
    """

    def __init__(self, folder: Path, bridge: str, uplink: str = "") -> None:
        self._folder = folder.absolute()
        self._bridge, self._uplink = bridge, uplink
        self._hosts, self._names = self._folder / "hosts", self._folder / "names"
        self._pid_file = self._folder / "dnsmasq.pid"
        self._plan_file = self._folder / "plan.json"
        self._lent_file = self._folder / "lent.jsonl"
        self._running_file = self._folder / "running.json"
        self._now: _Served | None = None
        self._alias = f"educloud {self._folder}"[:_ALIAS_KEPT]

    def apply(self, plan: EdgeNetwork) -> None:
        """Make bridge, dnsmasq and its hosts as planned, touching only what differs."""
        subnet = check_network(plan)
        self._now = None
        with _files(self._folder):
            for each in (self._hosts, self._names):
                each.mkdir(parents=True, exist_ok=True)
            before = self._read_plan()
            if before and before.bridge != plan.bridge:
                self._end_all()
                self._drop_bridge(before.bridge)
            link, index = self._card(plan, subnet) if plan.shared else (plan.bridge, self._make_bridge(plan, subnet))
            if self._uplink:
                cards.attach(self._uplink, plan.bridge, alone=plan.gateway)
            text = plan.model_dump_json()
            if _read(self._plan_file) != text:
                _write(self._plan_file, text, durable=True)
            macs = self._serve(plan, index, told.argv(self._folder, plan, subnet, link, names=not plan.shared and self._may_name(plan)))
            self._lent_file.unlink(missing_ok=True)
            if pid := self._pid():
                self._now = _Served(plan, link, index, pid, {told.file_name(each): told.host_line(each, plan) for each in plan.leases}, macs)

    def lend(self, leases: Sequence[EdgeLease]) -> bool:
        """Serve these too, which takes no longer beside many. False, and nothing changed, when anything is not as ``apply`` left it."""
        now = self._now
        if now is None or self._pid() != now.pid or _index(now.link) != now.index:
            return False
        new = [each for each in leases if now.hosts.get(told.file_name(each)) != told.host_line(each, now.plan)]
        check_network(now.plan.model_copy(update={"leases": tuple(new)}))
        if any(told.file_name(each) in now.hosts or now.macs.get(each.ip, each.mac) != each.mac for each in new):
            return False
        with _files(self._folder):
            for each in new:
                with self._lent_file.open("a", encoding="utf-8") as file:
                    file.write(f"{each.model_dump_json()}\n")
                line = told.host_line(each, now.plan)
                _write(self._hosts / told.file_name(each), line, by_way_of=self._folder)
                _write(self._names / told.file_name(each), told.name_line(each, now.plan), by_way_of=self._folder)
                now.hosts[told.file_name(each)], now.macs[each.ip] = line, each.mac
        return True

    def found(self) -> EdgeNetwork | None:
        """The plan as it is served now: None without bridge or dnsmasq, and only leases whose host file is right."""
        plan = self._read_plan()
        if plan is None:
            return None
        subnet = ipaddress.IPv4Network(plan.subnet)
        if plan.shared:
            if not routes.card_in(plan.subnet):
                return None
        elif (link := _look(plan.bridge)) is None or not link.up or f"{plan.gateway}/{subnet.prefixlen}" not in link.ips or link.ip6s != told.own6(plan):
            return None
        if self._pid() is None:
            return None
        there = _texts(self._hosts)
        leases = tuple(each for each in plan.leases if there.get(told.file_name(each)) == told.host_line(each, plan))
        return plan.model_copy(update={"leases": leases})

    def knows(self, mac: str, ip: str) -> bool | None:
        """Whether that card would be lent that address here; None: no dnsmasq runs."""
        if self._pid() is None:
            return None
        return _read(self._hosts / mac.replace(":", "-")).startswith(f"{mac},{ip},")

    def down(self) -> None:
        """End dnsmasq, remove our bridge and every file."""
        with _files(self._folder):
            plan = self._read_plan()
            self._end_all()
            for bridge in {self._bridge, plan.bridge if plan else self._bridge}:
                self._drop_bridge(bridge)
            if self._folder.exists():
                shutil.rmtree(self._folder)

    def _make_bridge(self, plan: EdgeNetwork, subnet: ipaddress.IPv4Network) -> int:
        """The bridge up with the gateway's address as its only one, and one of IPv6 if the network has that; its index."""
        wanted, wanted6 = f"{plan.gateway}/{subnet.prefixlen}", told.own6(plan)
        link = _look(plan.bridge)
        self._refuse_foreign(plan.bridge, link, wanted)
        if link and link.up and link.ips == (wanted,) and link.ip6s == wanted6 and link.alias == self._alias:
            return link.index
        _refuse_overlap(plan.bridge, [subnet, *([ipaddress.IPv6Network(plan.subnet6)] if plan.subnet6 else [])])
        is_made_here = link is None and _add_bridge(plan.bridge)
        if link is None and not is_made_here:
            self._refuse_foreign(plan.bridge, _look(plan.bridge), wanted)
        try:
            if not (link and link.alias == self._alias):
                # A fixed address of its own: else the bridge takes a guest's, and every guest's gateway changes with it.
                _ip("link", "set", "dev", plan.bridge, "address", subnets.bridge_mac(plan.gateway), "alias", self._alias)
            for other in set(link.ips if link else ()) - {wanted}:
                _ip("address", "del", other, "dev", plan.bridge)
            _ip("address", "replace", wanted, "dev", plan.bridge)
            _set_ipv6(plan.bridge, on=bool(plan.subnet6))
            _ip("link", "set", "dev", plan.bridge, "up")
            for other in set(link.ip6s if link and wanted6 else ()) - set(wanted6):
                _ip("address", "del", other, "dev", plan.bridge)
            for each in wanted6:
                _ip("address", "replace", each, "dev", plan.bridge, "nodad")
        except Failed:
            if is_made_here and _look(plan.bridge):
                _ip("link", "del", "dev", plan.bridge)
            raise
        made = _look(plan.bridge)
        if made is None:
            raise Failed("network", f"The bridge {plan.bridge} is gone again", "something else on this host removes it")
        _log.info("bridge made", bridge=plan.bridge, gateway=wanted)
        return made.index

    def _card(self, plan: EdgeNetwork, subnet: ipaddress.IPv4Network) -> tuple[str, int]:
        """The card of this host in a network of others, and its index."""
        name = routes.card_in(plan.subnet)
        link = _look(name) if name else None
        if link is None:
            raise Failed("network", f"This host has no address of {subnet}", "so it cannot serve DHCP there",
                         hint="Give the cluster's host an address in the campus network.")
        return name, link.index

    def _refuse_foreign(self, bridge: str, link: _Link | None, wanted: str) -> None:
        if link and self._foreign(link, wanted):
            raise Failed(
                "network", f"The bridge {bridge} is somebody else's",
                f"{link.alias or ', '.join(link.ips) or 'it is no bridge'}; choose another name in network.bridge",
            )

    def _foreign(self, link: _Link, wanted: str) -> bool:
        if not link.bridge:
            return True
        if link.alias:
            return link.alias != self._alias
        return bool(set(link.ips) - {wanted})

    def _drop_bridge(self, bridge: str) -> None:
        link = _look(bridge)
        if link and link.alias == self._alias:
            _ip("link", "del", "dev", bridge)

    def _serve(self, plan: EdgeNetwork, index: int, argv: list[str]) -> dict[str, str]:
        """Host files as planned, and a dnsmasq that knows them and nothing else; which MAC it knows per address."""
        wanted = {told.file_name(each): told.host_line(each, plan) for each in plan.leases}
        there = _texts(self._hosts)
        gone, new = there.keys() - wanted.keys(), {n: t for n, t in wanted.items() if there.get(n) != t}
        pid, served = self._current(argv, index)
        restart = pid is None or any(served.get(each.ip, each.mac) != each.mac for each in plan.leases)
        macs = ({} if restart else served) | {each.ip: each.mac for each in plan.leases}
        if not (restart or gone or new or self._lent()):
            return macs
        running = {"index": index, "served": macs}
        if restart or gone:
            # Cut off before the end, the next call finds no note and starts afresh: nothing removed stays served.
            self._running_file.unlink(missing_ok=True)
        else:
            _write(self._running_file, json.dumps(running))
        self._write_names({told.file_name(each): told.name_line(each, plan) for each in plan.leases})
        for name in gone:
            (self._hosts / name).unlink(missing_ok=True)
        for name, text in new.items():
            _write(self._hosts / name, text, by_way_of=self._folder)
        if restart:
            self._end_all()
            self._start(argv)
        elif gone and pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
        if restart or gone:
            _write(self._running_file, json.dumps(running))
        return macs

    def _current(self, argv: list[str], index: int) -> tuple[int | None, dict[str, str]]:
        """The dnsmasq that runs with exactly these arguments on this very bridge, and which MAC it knows per address."""
        pid = self._pid()
        if pid is None or _cmdline(pid) != argv:
            return None, {}
        try:
            note = json.loads(_read(self._running_file))
            served = dict(note["served"]) | {each.ip: each.mac for each in self._lent()}
        except (ValueError, KeyError, TypeError):
            return None, {}
        return (pid, served) if note.get("index") == index else (None, {})

    def _start(self, argv: list[str]) -> None:
        output = self._folder / "dnsmasq.log"
        if output.exists() and output.stat().st_size > _LOG_KEPT:
            output.replace(output.with_suffix(".log.1"))
        self._pid_file.unlink(missing_ok=True)
        said_before = output.stat().st_size if output.exists() else 0
        try:
            pid = process.spawn(argv, output=output)
        except FileNotFoundError as e:
            raise Failed("missing", "The program dnsmasq is not there", str(e), hint="Install the package dnsmasq-base.") from e
        until = clock.monotonic() + _START_S
        while _read(self._pid_file).strip() != str(pid):
            if not process.alive(pid) or clock.monotonic() > until:
                process.end(pid, _GRACE_S)
                said = _read(output)[said_before:].strip().splitlines()
                raise Failed("network", "dnsmasq did not start", said[-1] if said else "it said nothing")
            clock.sleep(0.005)
        _log.info("dnsmasq started", pid=pid)

    def _pid(self) -> int | None:
        """The running dnsmasq that our pid file names; never a stranger that got its number."""
        text = _read(self._pid_file).strip()
        return int(text) if text.isdigit() and self._ours(int(text)) else None

    def _ours(self, pid: int) -> bool:
        return told.hosts_argument(self._folder) in _cmdline(pid) and process.alive(pid) and _same_namespace(pid)

    def _end_all(self) -> None:
        """End every dnsmasq of this folder, also one whose pid file was lost: two would answer guests differently."""
        for pid in [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]:
            if self._ours(pid) and not process.end(pid, _GRACE_S):
                raise Failed("network", "dnsmasq does not end", f"process {pid} is still there")
        self._pid_file.unlink(missing_ok=True)

    def _write_names(self, wanted: Mapping[str, str]) -> None:
        there = _texts(self._names)
        for name in there.keys() - wanted.keys():
            (self._names / name).unlink(missing_ok=True)
        for name, text in wanted.items():
            if there.get(name) != text:
                _write(self._names / name, text, by_way_of=self._folder)

    def _may_name(self, plan: EdgeNetwork) -> bool:
        """Whether names can be answered for at the gateway: ours does already, or nobody does."""
        pid = self._pid()
        if pid is not None:
            return "--port=0" not in _cmdline(pid)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as trial:
                try:
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    trial.bind((plan.gateway, told.NAMES_PORT))
                except OSError as e:
                    _log.warning("guests are told no server of names", gateway=plan.gateway, why=str(e))
                    return False
        return True

    def _read_plan(self) -> EdgeNetwork | None:
        """What was applied last, with what was lent since."""
        try:
            plan = EdgeNetwork.model_validate_json(_read(self._plan_file))
        except ValueError:
            return None
        return plan.model_copy(update={"leases": tuple(dict.fromkeys((*plan.leases, *self._lent())))})

    def _lent(self) -> list[EdgeLease]:
        try:
            return [EdgeLease.model_validate_json(line) for line in _read(self._lent_file).splitlines()]
        except ValueError:  # its last line was cut; the next plan has what it said
            return []


def _texts(folder: Path) -> dict[str, str]:
    """The files of a folder by name; none when there is none."""
    return {each.name: _read(each) for each in folder.iterdir()} if folder.is_dir() else {}


def _ip(*words: str) -> str:
    try:
        return process.run(["ip", *words], timeout_s=_IP_S).text
    except Failed as e:
        if e.code != "program":
            raise
        raise Failed("network", "The bridge could not be set up", f"ip {' '.join(words)}: {e.why}") from e


def _add_bridge(bridge: str) -> bool:
    """Whether it was made here; a node on the same host may have made it in this moment, and have guests on it."""
    try:
        _ip("link", "add", "name", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    except Failed as e:
        if "File exists" not in e.why:
            raise
        return False
    return True


def _look(device: str) -> _Link | None:
    """The device, or None when there is none of that name."""
    done = process.run(["ip", "-json", "-details", "address", "show", "dev", device], timeout_s=_IP_S, check=False)
    if done.code != 0:
        if b"does not exist" in done.stderr:
            return None
        raise Failed("network", f"The bridge {device} cannot be seen", done.stderr.decode("utf-8", "replace").strip())
    shown = next(each for each in json.loads(done.text) if each)
    return _Link(
        index=shown["ifindex"],
        bridge=shown.get("linkinfo", {}).get("info_kind") == "bridge",
        alias=shown.get("ifalias", ""),
        up="UP" in shown["flags"],
        ips=tuple(ip for ip, _name in _ips([shown], "inet")),
        ip6s=tuple(ip for ip, _name in _ips([shown], "inet6")),
    )


def _index(link: str) -> int:
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return 0


def _ips(shown: list[Mapping[str, object]], family: str) -> Iterator[tuple[str, str]]:
    """Every address of that family the devices have, as ``address/prefix``, with its device's name; no link-local one of IPv6."""
    for device in shown:
        for each in device.get("addr_info", ()):  # type: ignore[attr-defined]
            if each["family"] == family and not (family == "inet6" and each["scope"] == "link"):
                yield f"{each['local']}/{each['prefixlen']}", str(device["ifname"])


def _set_ipv6(bridge: str, *, on: bool) -> None:
    """Where the network is IPv4 only, so is its bridge; and no guest announces itself to the host as a router. Raises Failed(network)."""
    settings = Path("/proc/sys/net/ipv6/conf") / bridge
    if not settings.exists():
        if on:
            raise Failed("network", "This host has no IPv6", "its kernel was started without", hint="Switch it on, or make the network without IPv6.")
        return
    for name, value in (("accept_ra", "0"), ("disable_ipv6", "0" if on else "1")):
        try:
            (settings / name).write_text(f"{value}\n", "ascii")
        except OSError as e:
            if on:
                raise Failed("network", "IPv6 could not be switched on", f"{bridge}: {e}") from e
            _log.warning("IPv6 stays on", bridge=bridge, why=str(e))


def _refuse_overlap(bridge: str, wanted: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
    """A guest network over one the host is already in would cut the host off from it."""
    shown = json.loads(_ip("-json", "address", "show"))
    for ip, device in (*_ips(shown, "inet"), *_ips(shown, "inet6")):
        for subnet in wanted:
            there = ipaddress.ip_interface(ip).network
            if device != bridge and there.version == subnet.version and there.overlaps(subnet):
                raise Failed(
                    "network", f"The guest network {subnet} is in use", f"{device} of this host has {ip}",
                    hint="Choose another network.subnet." if subnet.version == 4 else "Choose another network.subnet6.",
                )


def _cmdline(pid: int) -> list[str]:
    return _read(Path(f"/proc/{pid}/cmdline")).split("\0")[:-1]


def _same_namespace(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/thread-self/ns/net").readlink()
    except OSError:
        return False


@contextlib.contextmanager
def _files(folder: Path) -> Iterator[None]:
    """A file that cannot be written is trouble of this host, not a fault of ours."""
    try:
        yield
    except OSError as e:
        code = "disk_full" if e.errno == errno.ENOSPC else "network"
        raise Failed(code, f"The network's files in {folder} could not be written", str(e)) from e


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _write(path: Path, text: str, *, by_way_of: Path | None = None, durable: bool = False) -> None:
    """Write whole or not at all: a neighbour (in ``by_way_of``) is written first, then takes the name."""
    part = (by_way_of or path.parent) / f".{path.name}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)
