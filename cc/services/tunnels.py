"""TCP lines from the cloud to ports of guests, dialled from the cluster's host into the guests' own networks and nowhere else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass

from luhyaapi import log
from luhyaapi.conf import Network, bridge_of
from luhyaapi.contracts.specs import MachineSpec, Nic
from luhyaapi.contracts.vocabulary import SPANNING
from luhyaapi.errors import Refused, Trouble, Unavailable
from luhyaapi.wire import stream
from luhyaapi.wire.ends import tune
from luhyadb.models import AddressLease

OF_ONE_AT_MOST = 16
AT_MOST = 256
IDLE_S = 1800.0
_DIAL_WITHIN_S = 8.0
_log = log.get(__name__)


@dataclass
class _Tunnel:
    """One line; ``bridge`` once it stands."""

    instance: str
    ip: str
    bridge: stream.Bridge | None = None
    is_over: bool = False


def address_of(spec: MachineSpec) -> Nic:
    """The first card of a machine, in a network this host serves, whose address is lent to exactly it, now. Raises Refused(state)."""
    lent = dict(AddressLease.objects.filter(instance=spec.instance).values_list("ip", "mac"))
    held = [nic for nic in spec.nics if lent.get(nic.ip) == nic.mac]
    if not held:
        raise Refused("state", "The instance has no address now", "none is lent to it")
    for nic in held:
        if nic.mode in SPANNING:
            return nic
    raise Refused("state", "The cluster has no way into the instance's network", f"it is of mode {held[0].mode}",
                  hint="Open a port of it by a forward, or let it in by a security rule.")


class Tunnels:
    """The lines of this cluster: at most ``OF_ONE_AT_MOST`` for an instance and ``AT_MOST`` in all."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._open: list[_Tunnel] = []
        self._lock = threading.Lock()

    def open(self, nic: Nic, instance: str, port: int, end: tuple[stream.Dialling, str, str]) -> None:
        """Dial that port of a guest and join it with the stream (``end``: the boss, the secret, our own id); does not wait for it.

        What comes between is told to whoever waits for the stream. Raises Refused(quota).
        """
        tunnel = self._reserve(_Tunnel(instance, nic.ip))
        device = bridge_of(self._network.bridge, nic.segment)
        threading.Thread(target=self._run, args=(tunnel, device, port, end), name="tunnel", daemon=True).start()

    def keep_only(self, lent: Collection[tuple[str, str]]) -> None:
        """End those of an instance and address that are not lent so (any more)."""
        with self._lock:
            gone = [t for t in self._open if (t.instance, t.ip) not in lent]
            for tunnel in gone:
                tunnel.is_over = True
        for tunnel in gone:
            _log.info("a tunnel ends with its lease", instance=tunnel.instance)
            if tunnel.bridge:
                tunnel.bridge.stop()

    def look_after(self) -> None:
        """End what leads to addresses that were given back."""
        if self._open:
            self.keep_only(set(AddressLease.objects.exclude(instance="").values_list("instance", "ip")))

    def _reserve(self, tunnel: _Tunnel) -> _Tunnel:
        with self._lock:
            if sum(t.instance == tunnel.instance for t in self._open) >= OF_ONE_AT_MOST:
                raise Refused("quota", "Too many lines to this instance are open", f"at most {OF_ONE_AT_MOST} can")
            if len(self._open) >= AT_MOST:
                raise Refused("quota", "Too many lines to instances are open", f"at most {AT_MOST} can")
            self._open.append(tunnel)
        return tunnel

    def _run(self, tunnel: _Tunnel, device: str, port: int, end: tuple[stream.Dialling, str, str]) -> None:
        boss, secret, me = end
        try:
            near = dial(device, tunnel.ip, port)
            tunnel.bridge = stream.bridge(near, boss, secret, me, idle_s=IDLE_S)
            if tunnel.is_over:
                tunnel.bridge.stop()
            tunnel.bridge.wait(None)
        except Trouble as error:
            _log.info("no tunnel", instance=tunnel.instance, port=port, why=str(error))
            if tunnel.bridge is None and error.params.get("guest"):
                stream.refuse(boss, secret, me, error)
        finally:
            with self._lock:
                self._open.remove(tunnel)


def dial(device: str, ip: str, port: int, within_s: float = _DIAL_WITHIN_S) -> socket.socket:
    """A socket connected to a guest behind that bridge: never to another host that has such an address elsewhere.

    Raises Refused(not_found) when the guest listens there not, Unavailable(host_silent) when it does not answer.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        sock.settimeout(within_s)
        sock.connect((ip, port))
    except ConnectionRefusedError as e:
        sock.close()
        raise Refused("not_found", f"Nothing listens at port {port} of the instance", ip, guest=True) from e
    except OSError as e:
        sock.close()
        raise Unavailable("host_silent", f"The instance does not answer at port {port}", f"{ip}: {e.strerror or e}", guest=True) from e
    with contextlib.suppress(OSError):
        tune(sock)
    sock.settimeout(None)
    return sock
