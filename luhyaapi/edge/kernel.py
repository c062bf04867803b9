"""What the kernel must be told beside the rules, so that they are asked and packets pass from link to link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luhyaapi import log
from luhyaapi.edge.plan import RulesPlan, Segment, subnet
from luhyaapi.errors import Failed
from luhyaapi.process import run

_log = log.get(__name__)
_SYSCTLS = Path("/proc/sys/net")
_S = 10.0
_CALLS = {"nf_call_iptables": 1, "nf_call_ip6tables": 1}


def prepare(plan: RulesPlan, sysctls: Path = _SYSCTLS) -> None:
    """Settings that the plan needs, of its own links only where the kernel has them by link; what is right already is not written.

    Where the gateway is another host, bridged frames are shown to the rules of IP (br_netfilter), for only there are connections known.
    By bridge, and not net.bridge.bridge-nf-call-iptables, which would have the rules of others judge the bridges of others. Where it is
    this host, they are not: what a forward translates would then go from tap to tap, never back to the tap it came by, and past the
    host. (Where somebody set that sysctl, it does.)

    Packets are forwarded from bridges and uplinks; the kernel asks the link a packet came by, and :func:`is_router` still tells what
    others want. With IPv6 it is one switch for all links, which also ends what an uplink learns of routers, unless accept_ra is 2.
    Nothing is undone: others may rely on it by then.

    Raises Failed(missing) when the kernel has no br_netfilter, Failed(network) when it takes a setting not.
    """
    if any(map(_is_judged_on_its_bridge, plan.segments)):
        _need_br_netfilter(sysctls)
    unasked = _unasked(plan)
    if unasked:
        words = " ".join(f"{name} {value}" for name, value in _CALLS.items())
        text = "".join(f"link set dev {bridge} type bridge {words}\n" for bridge in unasked)
        done = run(["ip", "-batch", "-"], timeout_s=_S, stdin=text.encode(), check=False)
        if done.code:
            raise Failed("network", "The bridges could not be set up", done.stderr.decode("utf-8", "replace").strip())
    for file, value in _wanted(plan, sysctls).items():
        if _read(file) not in ("", value):
            _write(file, value)


def is_ready(plan: RulesPlan, sysctls: Path = _SYSCTLS) -> bool:
    """Whether :func:`prepare` would change nothing. Raises Failed(network) when the links cannot be read."""
    return not _unasked(plan) and all(_read(file) in ("", value) for file, value in _wanted(plan, sysctls).items())


def is_router(sysctls: Path = _SYSCTLS) -> bool:
    """Whether somebody has this host forward between all its links."""
    return _read(sysctls / "ipv4/conf/all/forwarding") == "1"


def _is_judged_on_its_bridge(segment: Segment) -> bool:
    return not segment.gateway and not segment.judged


def _need_br_netfilter(sysctls: Path) -> None:
    if (sysctls / "bridge").is_dir():
        return
    done = run(["modprobe", "br_netfilter"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("missing", "The kernel has no br_netfilter", done.stderr.decode("utf-8", "replace").strip(),
                     hint="Start a kernel that has this module, as Debian's do.")
    # Loaded by us, it must not begin to judge the bridges of others.
    for name in ("iptables", "ip6tables", "arptables"):
        _write(sysctls / "bridge" / f"bridge-nf-call-{name}", "0")


def _unasked(plan: RulesPlan) -> list[str]:
    """The bridges of the plan that are there and whose frames the rules do not see."""
    wanted = {segment.bridge for segment in plan.segments if _is_judged_on_its_bridge(segment)}
    if not wanted:
        return []
    done = run(["ip", "-json", "-details", "link", "show", "type", "bridge"], timeout_s=_S, check=False)
    if done.code:
        raise Failed("network", "The links of this host could not be read", done.stderr.decode("utf-8", "replace").strip())
    links: list[dict[str, Any]] = [link for link in json.loads(done.stdout or b"[]") if link.get("ifname") in wanted]
    return [link["ifname"] for link in links if not link["linkinfo"]["info_data"].items() >= _CALLS.items()]


def _wanted(plan: RulesPlan, sysctls: Path) -> dict[Path, str]:
    """Per file its text. In IPv6 accept_ra goes before, else a router's announcement would be forgotten in between."""
    links = [*plan.uplinks, *plan.inner, *(segment.bridge for segment in plan.segments if not segment.judged)]
    wanted = {sysctls / "ipv4/conf" / link / "forwarding": "1" for link in links}
    # Where this host stands in the same network by a card of its own, that one alone says so.
    wanted |= {sysctls / "ipv4/conf" / segment.bridge / "arp_ignore": "1" for segment in plan.segments if segment.shared}
    routed = [segment for segment in plan.segments if segment.gateway or (segment.way_out and not segment.judged and not segment.shared)]
    if any(subnet(text).version == 6 for segment in routed for text in segment.subnets):
        learning = [sysctls / "ipv6/conf" / link / "accept_ra" for link in plan.uplinks]
        wanted |= {file: "2" for file in learning if _read(file) != "0"}
        wanted[sysctls / "ipv6/conf/all/forwarding"] = "1"
    return wanted


def _read(file: Path) -> str:
    """Empty when there is no such link, or no IPv6."""
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return ""


def _write(file: Path, value: str) -> None:
    try:
        file.write_text(value, "ascii")
    except OSError as e:
        raise Failed("network", "A setting of the kernel could not be changed", f"{file.name}: {e}") from e
    _log.info("kernel told", setting=str(file), value=value)
