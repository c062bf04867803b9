"""A segment that spans hosts: each sends to each by VXLAN (RFC 7348), to addresses it was told, without multicast."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from luhyaapi import log
from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import Ipv4
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run

_log = log.get(__name__)
_S = 10.0
_PORT = 4789
_OVERHEAD = 50
"""Bytes of the outer Ethernet, IPv4, UDP and VXLAN headers: what a frame of a guest must be smaller by."""
_EVERYBODY = "00:00:00:00:00:00"
"""Where the kernel keeps who gets what is for all, and what is for somebody it has not heard of yet."""


class Span(Model):
    """One host's end of a segment, in the network namespace of the caller.

    ``local`` is this host's address for the others, ``peers`` are theirs; ``vni`` is the same on all of them. ``bridge`` is there already.
    """

    bridge: str = Field(pattern="^[a-z][a-z0-9._-]{0,14}$")
    vni: int = Field(ge=1, lt=1 << 24)
    local: Ipv4
    peers: tuple[Ipv4, ...] = ()


def device(vni: int) -> str:
    """The link of a segment on every host."""
    return f"vx{vni:06x}"


def ensure(span: Span) -> None:
    """Have it so, touching only what differs; guests that talk notice nothing.

    Raises Refused(invalid) for a span that cannot be, Refused(not_found) when ``local`` is no address of this host, Failed(network).
    """
    if span.local in span.peers or len(set(span.peers)) < len(span.peers):
        raise Refused("invalid", "The segment cannot span these hosts", f"{span.local} and {', '.join(span.peers)}: each is named once")
    name, mtu = device(span.vni), _mtu(span.local) - _OVERHEAD
    link = _look(name)
    if link and not _fits(link, span):
        _ip("link", "delete", name)
        link = None
    if link is None:
        words = ("id", str(span.vni), "local", span.local, "dstport", str(_PORT))
        _ip("link", "add", name, "mtu", str(mtu), "type", "vxlan", *words)
        _log.info("segment spans hosts", link=name, bridge=span.bridge, peers=len(span.peers))
    elif link.get("mtu") != mtu:
        _ip("link", "set", name, "mtu", str(mtu))
    there = _peers(name)
    for peer in there - set(span.peers):
        _fdb("del", name, peer)
    for peer in set(span.peers) - there:
        _fdb("append", name, peer)
    if not link or link.get("master") != span.bridge or "UP" not in link.get("flags", ()):
        _ip("link", "set", name, "master", span.bridge, "up")


def found(vni: int) -> Span | None:
    """What there is, or None: no such link, or it is not up and in a bridge."""
    link = _look(device(vni))
    if link is None or "UP" not in link.get("flags", ()) or not link.get("master"):
        return None
    return Span(bridge=link["master"], vni=vni, local=_data(link).get("local", "0.0.0.0"), peers=tuple(sorted(_peers(device(vni)))))  # noqa: S104


def remove(vni: int) -> None:
    """Leave nothing of it on this host; harmless when there is nothing."""
    if _look(device(vni)) is not None:
        _ip("link", "delete", device(vni))


def _fits(link: dict[str, Any], span: Span) -> bool:
    """Raises Failed(network) when the link of that name is no VXLAN: it is somebody else's."""
    if link.get("linkinfo", {}).get("info_kind") != "vxlan":
        raise Failed("network", f"The link {device(span.vni)} is somebody else's", "it is no VXLAN")
    data = _data(link)
    return (data.get("id"), data.get("local"), data.get("port")) == (span.vni, span.local, _PORT)


def _data(link: dict[str, Any]) -> dict[str, Any]:
    return dict(link.get("linkinfo", {}).get("info_data", {}))


def _mtu(local: str) -> int:
    shown = json.loads(_ip("-json", "address", "show", "to", local) or "[]")
    link = next((each for each in shown if each and any(a.get("local") == local for a in each.get("addr_info", ()))), None)
    if link is None:
        raise Refused("not_found", f"{local} is no address of this host", "the others would answer to somebody else")
    return int(link["mtu"])


def _peers(name: str) -> set[str]:
    done = run(["bridge", "-json", "fdb", "show", "dev", name], timeout_s=_S, check=False)
    if done.code:
        raise _failed(f"The peers of {name} could not be read", done.stderr)
    return {each["dst"] for each in json.loads(done.text or "[]") if each.get("mac") == _EVERYBODY and "dst" in each}


def _fdb(verb: str, name: str, peer: str) -> None:
    done = run(["bridge", "fdb", verb, _EVERYBODY, "dev", name, "dst", peer], timeout_s=_S, check=False)
    if done.code:
        raise _failed(f"The peer {peer} of {name} could not be changed", done.stderr)


def _look(name: str) -> dict[str, Any] | None:
    done = run(["ip", "-json", "-details", "link", "show", "dev", name], timeout_s=_S, check=False)
    if done.code == 0:
        return next(dict(each) for each in json.loads(done.text) if each)
    if b"does not exist" in done.stderr:
        return None
    raise _failed(f"The link {name} cannot be seen", done.stderr)


def _ip(*words: str) -> str:
    done = run(["ip", *words], timeout_s=_S, check=False)
    if done.code:
        raise _failed("A link of this host could not be changed", done.stderr)
    return done.text


def _failed(what: str, said: bytes) -> Failed:
    return Failed("network", what, said.decode("utf-8", "replace").strip())
