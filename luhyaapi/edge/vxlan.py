"""A segment that spans hosts: each sends to each by VXLAN (RFC 7348), to addresses it was told, without multicast."""

from __future__ import annotations

import json
from typing import Any

from luhyaapi import log
from luhyaapi.contracts.specs import SegmentSpan
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run

_log = log.get(__name__)
_S = 10.0
_PORT = 4789
_OVERHEAD = 50
"""Bytes of the outer Ethernet, IPv4, UDP and VXLAN headers: what a frame of a guest must be smaller by."""
_EVERYBODY = "00:00:00:00:00:00"
"""Where the kernel keeps who gets what is for all, and what is for somebody it has not heard of yet."""


def device(vni: int) -> str:
    """The link of a segment on every host."""
    return f"vx{vni:06x}"


def ensure(bridge: str, span: SegmentSpan, namespace: str = "") -> None:
    """Have ``bridge``, which is there, span to those hosts, touching only what differs; guests that talk notice nothing.

    ``namespace`` names a network namespace (``ip netns``); empty is our own.

    Raises Refused(invalid) for a span that cannot be, Refused(not_found) when ``local`` is no address of this host, Failed(network).
    """
    if span.local in span.peers or len(set(span.peers)) < len(span.peers):
        raise Refused("invalid", "The segment cannot span these hosts", f"{span.local} and {', '.join(span.peers)}: each is named once")
    name, mtu = device(span.vni), _mtu(span.local, namespace) - _OVERHEAD
    link = _look(name, namespace)
    if link and not _fits(link, span):
        _ip(namespace, "link", "delete", name)
        link = None
    if link is None:
        words = ("id", str(span.vni), "local", span.local, "dstport", str(_PORT))
        _ip(namespace, "link", "add", name, "mtu", str(mtu), "type", "vxlan", *words)
        _log.info("segment spans hosts", link=name, bridge=bridge, peers=len(span.peers))
    elif link.get("mtu") != mtu:
        _ip(namespace, "link", "set", name, "mtu", str(mtu))
    there = _peers(name, namespace)
    for peer in there - set(span.peers):
        _fdb("del", name, peer, namespace)
    for peer in set(span.peers) - there:
        _fdb("append", name, peer, namespace)
    if not link or link.get("master") != bridge or "UP" not in link.get("flags", ()):
        _ip(namespace, "link", "set", name, "master", bridge, "up")


def is_there(bridge: str, span: SegmentSpan, namespace: str = "") -> bool:
    """Whether it is so."""
    name = device(span.vni)
    link = _look(name, namespace)
    if link is None or "UP" not in link.get("flags", ()) or link.get("master") != bridge:
        return False
    return _fits(link, span) and _peers(name, namespace) == set(span.peers)


def fault(bridge: str, span: SegmentSpan, namespace: str = "") -> str:
    """What of it is not so, in words; empty: it is. Raises Failed(network)."""
    name = device(span.vni)
    link = _look(name, namespace)
    if link is None:
        return f"the link {name} is not there"
    if not _fits(link, span):
        return f"the link {name} is for other hosts"
    if "UP" not in link.get("flags", ()):
        return f"the link {name} is down"
    if link.get("master") != bridge:
        return f"the link {name} is not in {bridge}"
    if missing := sorted(set(span.peers) - _peers(name, namespace)):
        return f"the link {name} does not send to {', '.join(missing)}"
    return ""


def links(namespace: str = "") -> dict[int, str]:
    """The bridge of each segment that spans hosts, by VNI; of whoever made them."""
    shown = json.loads(_ip(namespace, "-json", "-details", "link", "show", "type", "vxlan") or "[]")
    return {_data(each)["id"]: each["master"] for each in shown if each and each.get("master") and each["ifname"] == device(_data(each).get("id", 0))}


def remove(vni: int, namespace: str = "") -> None:
    """Leave nothing of it on this host; harmless when there is nothing."""
    if _look(device(vni), namespace) is not None:
        _ip(namespace, "link", "delete", device(vni))


def _fits(link: dict[str, Any], span: SegmentSpan) -> bool:
    """Raises Failed(network) when the link of that name is no VXLAN: it is somebody else's."""
    if link.get("linkinfo", {}).get("info_kind") != "vxlan":
        raise Failed("network", f"The link {device(span.vni)} is somebody else's", "it is no VXLAN")
    data = _data(link)
    return (data.get("id"), data.get("local"), data.get("port")) == (span.vni, span.local, _PORT)


def _data(link: dict[str, Any]) -> dict[str, Any]:
    return dict(link.get("linkinfo", {}).get("info_data", {}))


def _mtu(local: str, namespace: str) -> int:
    shown = json.loads(_ip(namespace, "-json", "address", "show", "to", local) or "[]")
    link = next((each for each in shown if each and any(a.get("local") == local for a in each.get("addr_info", ()))), None)
    if link is None:
        raise Refused("not_found", f"{local} is no address of this host", "the others would answer to somebody else")
    return int(link["mtu"])


def _peers(name: str, namespace: str) -> set[str]:
    done = run([*_in("bridge", namespace), "-json", "fdb", "show", "dev", name], timeout_s=_S, check=False)
    if done.code:
        raise _failed(f"The peers of {name} could not be read", done.stderr)
    return {each["dst"] for each in json.loads(done.text or "[]") if each.get("mac") == _EVERYBODY and "dst" in each}


def _fdb(verb: str, name: str, peer: str, namespace: str) -> None:
    done = run([*_in("bridge", namespace), "fdb", verb, _EVERYBODY, "dev", name, "dst", peer], timeout_s=_S, check=False)
    if done.code:
        raise _failed(f"The peer {peer} of {name} could not be changed", done.stderr)


def _look(name: str, namespace: str) -> dict[str, Any] | None:
    done = run([*_in("ip", namespace), "-json", "-details", "link", "show", "dev", name], timeout_s=_S, check=False)
    if done.code == 0:
        return next(dict(each) for each in json.loads(done.text) if each)
    if b"does not exist" in done.stderr:
        return None
    raise _failed(f"The link {name} cannot be seen", done.stderr)


def _ip(namespace: str, *words: str) -> str:
    done = run([*_in("ip", namespace), *words], timeout_s=_S, check=False)
    if done.code:
        raise _failed("A link of this host could not be changed", done.stderr)
    return done.text


def _in(program: str, namespace: str) -> list[str]:
    return [program, "-n", namespace] if namespace else [program]


def _failed(what: str, said: bytes) -> Failed:
    return Failed("network", what, said.decode("utf-8", "replace").strip())
