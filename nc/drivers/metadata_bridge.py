"""The metadata service at bridges: on each a room of its own, which knows nothing but the guests it may answer."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from luhyaapi import log
from luhyaapi.edge.plan import METADATA, METADATA_MAC, METADATA_PORT, metadata_link
from luhyaapi.errors import Failed
from luhyaapi.process import run
from nc.drivers.metadata_base import Asker, Told
from nc.drivers.metadata_http import IN_ALL, MetadataHttp

_log = log.get(__name__)
T = TypeVar("T")
_S = 10.0
_CLONE_NEWNET = 0x40000000
_INSIDE = "md0"
_SYSCTLS = {
    # who is no guest of ours is not even answered ARP; nothing is passed on
    "ipv4/conf/all/rp_filter": "1", "ipv4/conf/all/forwarding": "0", "ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1",
}


class BridgeMetadata:
    """A room is a network namespace without a name, joined to the bridge by a pair of links.

    It ends with this process, whatever ends that. In it there is no service but ours and no network of the host, so the address is in
    nobody's way, and an answer finds its guest alike on every host: each guest has a route and, fixed, the MAC of its card. Whoever asks
    from a guest's address without being it gets no answer: that goes to the guest.

    The guards at the taps and the way of the questions are the packet rules' (Segment, ``metadata``), which shall stand before.
    ``namespace`` is that of the bridges (``ip netns``); empty is our own.
    """

    def __init__(self, told: Told, namespace: str = "") -> None:
        self._http: MetadataHttp | None = None
        self._told, self._namespace = told, namespace
        self._rooms: dict[str, _Room] = {}
        self._lock = threading.Lock()

    def serve(self, askers: Sequence[Asker]) -> None:
        """Each bridge that is there."""
        with self._lock:
            links = self._links()
            wanted = {asker.bridge for asker in askers} & links.keys()
            for bridge in self._rooms.keys() - wanted:
                self._shut(bridge)
            for bridge in sorted(wanted):
                room = self._rooms.get(bridge)
                if room and links.get(room.link) != bridge:
                    self._shut(bridge)  # the bridge was made anew, or somebody took our link away
                    room = None
                if room is None:
                    room = self._open(bridge, links)
                room.know({asker.ip: asker.mac for asker in askers if asker.bridge == bridge})

    def close(self) -> None:
        with self._lock:
            for bridge in [*self._rooms]:
                self._shut(bridge)
            if self._http:
                self._http.stop()
                self._http = None

    def _open(self, bridge: str, links: dict[str, str]) -> _Room:
        link = metadata_link(bridge)
        if link in links:
            _ip(self._namespace, "link", "delete", link)  # of a process that is just ending
        room = _Room(link)
        try:
            room.join(bridge, self._namespace)
            self._http = self._http or MetadataHttp(self._told)
            self._http.open(bridge, room.listening)
        except BaseException:
            room.close()
            raise
        self._rooms[bridge] = room
        _log.info("metadata is served", bridge=bridge)
        return room

    def _shut(self, bridge: str) -> None:
        if self._http:
            self._http.close(bridge)
        self._rooms.pop(bridge).close()

    def _links(self) -> dict[str, str]:
        """All links there are and the bridge each is in."""
        shown = json.loads(_ip(self._namespace, "-json", "link", "show") or "[]")
        return {str(link["ifname"]): str(link.get("master", "")) for link in shown if link}


class _Room:
    """One namespace, by its file descriptor, the socket that listens in it, and the link that leads there."""

    def __init__(self, link: str) -> None:
        self.link = link
        self._known: dict[str, str] = {}
        try:
            self._fd, self.listening = _elsewhere("unshare", _CLONE_NEWNET, do=_furnished)
        except OSError as e:
            raise Failed("network", "The metadata service has no room", str(e),
                         hint="The node needs the right to make network namespaces (CAP_SYS_ADMIN).") from e

    def join(self, bridge: str, namespace: str) -> None:
        """Both ends of the link; the bridge learns the MAC from nobody."""
        _ip(namespace, "link", "add", self.link, "type", "veth", "peer", "name", _INSIDE, "address", METADATA_MAC,
            "netns", f"/proc/{os.getpid()}/fd/{self._fd}")
        self._batch([f"address add {METADATA}/32 dev {_INSIDE}", f"link set {_INSIDE} up"])
        _ip(namespace, "link", "set", self.link, "master", bridge, "up")
        program = ["bridge", *(["-n", namespace] if namespace else [])]
        _ran([*program, "fdb", "replace", METADATA_MAC, "dev", self.link, "master", "static", "sticky"])

    def know(self, guests: dict[str, str]) -> None:
        """The guests it answers: their MACs by their addresses."""
        gone = [ip for ip in self._known if ip not in guests]
        new = {ip: mac for ip, mac in guests.items() if self._known.get(ip) != mac}
        if not gone and not new:
            return
        before, self._known = self._known, {}  # half-way it is neither
        self._batch([
            *(f"route del {ip}/32 dev {_INSIDE}" for ip in gone), *(f"neighbour del {ip} dev {_INSIDE}" for ip in gone),
            *(f"neighbour replace {ip} lladdr {mac} dev {_INSIDE} nud permanent" for ip, mac in new.items()),
            *(f"route replace {ip}/32 dev {_INSIDE} src {METADATA}" for ip in new),
        ] if before else [
            f"neighbour flush dev {_INSIDE} nud permanent", f"route flush dev {_INSIDE}",
            *(f"neighbour replace {ip} lladdr {mac} dev {_INSIDE} nud permanent" for ip, mac in guests.items()),
            *(f"route replace {ip}/32 dev {_INSIDE} src {METADATA}" for ip in guests),
        ])
        self._known = guests

    def close(self) -> None:
        """Nothing of it is left once its last connection ended; the link goes at once, for another one may follow."""
        with suppress(Failed, OSError):
            self._batch([f"link delete {_INSIDE}"])
        self.listening.close()
        os.close(self._fd)

    def _batch(self, lines: Sequence[str]) -> None:
        text = "\n".join(lines) + "\n"
        _elsewhere("setns", self._fd, _CLONE_NEWNET, do=lambda: _ran(["ip", "-batch", "-"], text))


def _elsewhere(function: str, *arguments: int, do: Callable[[], T]) -> T:
    """What ``do`` answers in a thread of its own, which first went to another namespace by that function of the C library, and then ends.

    Raises OSError when it may not go there, and what ``do`` raises.
    """
    library = ctypes.CDLL(None, use_errno=True)

    def go() -> T:
        if library[function](*arguments):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return do()

    with ThreadPoolExecutor(1, "metadata-room") as pool:
        return pool.submit(go).result()


def _furnished() -> tuple[int, socket.socket]:
    """What stands for the namespace of this thread, and a socket that listens there. Raises OSError."""
    for name, value in _SYSCTLS.items():
        with suppress(FileNotFoundError):  # a kernel without IPv6
            Path("/proc/sys/net", name).write_text(value, "ascii")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("", METADATA_PORT))  # the address comes with the link
        listening.listen(IN_ALL)
        listening.setblocking(False)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), listening
    except OSError:
        listening.close()
        raise


def _ip(namespace: str, *words: str) -> str:
    return _ran(["ip", *(["-n", namespace] if namespace else []), *words])


def _ran(argv: list[str], text: str = "") -> str:
    done = run(argv, timeout_s=_S, stdin=text.encode(), check=False)
    if done.code:
        raise Failed("network", "The metadata service has no way to its guests", done.stderr.decode("utf-8", "replace").strip())
    return done.text
