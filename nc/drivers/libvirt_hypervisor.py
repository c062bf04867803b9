"""Seven verbs by libvirt, for KVM, plain emulation and Xen: the URI and the proof decide."""

from __future__ import annotations

import builtins
import contextlib
import grp
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
from lxml import etree

from luhyaapi import ids, log
from luhyaapi.conf import Settings
from luhyaapi.contracts.specs import Display, DomainFacts, MachineSpec
from luhyaapi.contracts.vocabulary import Accelerator, DiskFormat, DomainState
from luhyaapi.errors import Failed, Refused
from nc.drivers import kvm_proof, libvirt_base, libvirt_xml
from nc.drivers.base import Account, Files, Probe, ends_politely, never
from nc.drivers.libvirt_link import Absent, Link

_log = log.get(__name__)

QUICK_S = 30.0
POLITE_S = 5.0
START_S = 120.0
DESTROY_S = 60.0
_RUNNING = {
    libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_PMSUSPENDED,
}
_ACCELERATORS = {"kvm": Accelerator.KVM, "qemu": Accelerator.TCG}
_SCHEMAS = Path("/usr/share/libvirt/schemas")
"""What libvirt holds a domain against; one that is unpacked and not installed has them elsewhere and cannot be told so."""
_IPV6 = Path("/proc/sys/net/ipv6/conf")
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)


class LibvirtHypervisor:
    """Domains named by instance id, defined so that they outlive a reboot, started only by us.

    ``quick_s`` is how long libvirt may take for anything but starting and ending a guest.
    """

    def __init__(self, settings: Settings, quick_s: float = QUICK_S) -> None:
        self._settings = settings
        self._link = Link(settings.hypervisor.uri, quick_s)
        self._callback: Callable[[str], None] = lambda _instance: None
        self._link.watch(self._changed)
        network = settings.network
        self._wiring = libvirt_xml.Wiring(
            bridge=network.bridge if network.node_driver == "bridge" else "", subnet=network.subnet if network.node_driver == "user" else "",
        )
        self._proof: kvm_proof.Proof | None = None
        self._proving = threading.Lock()

    def probe(self) -> Probe:
        """What libvirt drives here; the first time this boots the accelerator proof."""
        name, number = self._link.ask(
            lambda c: (str(c.getType()), int(c.getVersion())), what="The hypervisor was asked for its version",
        )
        version = f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
        if self._xen:
            return Probe(name, version, Accelerator.UNPROVED, "Xen runs its guests itself")
        proof = self._proved()
        return Probe(name, version, proof.accelerator, proof.why)

    def define(self, spec: MachineSpec, files: Files) -> None:
        accelerator = Accelerator.UNPROVED if self._xen else self._proved().accelerator
        kind: libvirt_xml.Kind = "xen" if self._xen else "kvm" if accelerator is Accelerator.KVM else "qemu"
        xml = libvirt_xml.domain_xml(spec, files, accelerator, kind, self._wiring)
        self._link.ask(
            lambda c: c.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE if _SCHEMAS.is_dir() else 0),
            what=f"{spec.instance} could not be defined",
        )

    def start(self, instance: str) -> DomainFacts:
        def act(connection: Any) -> DomainFacts:
            domain = _find(connection, instance)
            if not domain.isActive():
                _begin(domain)
                _no_ipv6(domain)
            state, reason = domain.state()
            if _is_stalled(state, reason):
                domain.resume()
            elif state == libvirt.VIR_DOMAIN_PAUSED:
                _go(domain)
            return self._facts(domain)

        what = f"{instance} could not be started"
        try:
            return self._link.ask_guest(instance, act, what=what, timeout_s=START_S)
        except Absent:
            raise Failed("hypervisor", what, "it is not defined here") from None

    def stand(self, instance: str, base: Path, base_format: DiskFormat) -> None:
        """See :class:`nc.drivers.base.Hypervisor`."""
        what = f"{instance} could not be put on its image"
        with contextlib.suppress(Absent):
            self._link.ask_guest(instance, lambda c: libvirt_base.on_file(_find(c, instance), base, base_format), what=what)

    def stop(self, instance: str, grace_s: float, cancelled: Callable[[], bool] = never) -> None:
        what = f"{instance} could not be stopped"
        try:
            ended = ends_politely(
                lambda: self._link.ask_guest(instance, lambda c: _shutdown(_find(c, instance)), what=what, timeout_s=POLITE_S),
                lambda: self._link.ask(lambda c: bool(_find(c, instance).isActive()), what=what),
                grace_s, cancelled,
            )
            if not ended:
                _log.info("guest did not end by itself", instance=instance, grace_s=grace_s)
                self._link.ask(lambda c: _destroy(_find(c, instance)), what=what, timeout_s=DESTROY_S)
        except Absent:
            return

    def remove(self, instance: str) -> None:
        def act(connection: Any) -> None:
            domain = _find(connection, instance)
            _destroy(domain)
            if domain.isPersistent():
                domain.undefineFlags(_UNDEFINE)

        with contextlib.suppress(Absent):
            self._link.ask(act, what=f"{instance} could not be removed", timeout_s=DESTROY_S)
        self._remove_logs(instance)

    def _remove_logs(self, instance: str) -> None:
        """Those that libvirt wrote about its process and keeps."""
        for file in self._settings.hypervisor.logs.glob(f"{instance}.log*"):
            try:
                file.unlink(missing_ok=True)
            except OSError as e:
                _log.info("the log of a guest's process stays", instance=instance, why=str(e))

    def connect(self, instance: str) -> None:
        """See :class:`nc.drivers.base.Hypervisor`."""
        with contextlib.suppress(Absent):
            self._link.ask_guest(instance, lambda c: _connect(_find(c, instance)), what=f"{instance} could not be connected")

    def inspect(self, instance: str) -> DomainFacts:
        try:
            return self._link.ask(lambda c: self._facts(_find(c, instance)), what=f"{instance} could not be looked at")
        except Absent:
            return DomainFacts(instance=instance, state=DomainState.ABSENT)

    def list(self) -> builtins.list[DomainFacts]:
        return self._link.ask(self._all_facts, what="The domains could not be listed")

    def _all_facts(self, connection: Any) -> builtins.list[DomainFacts]:
        found = []
        for domain in connection.listAllDomains():
            try:
                if _is_ours(domain):
                    found.append(self._facts(domain))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        return sorted(found, key=lambda facts: facts.instance)

    def _facts(self, domain: Any) -> DomainFacts:
        state, reason = domain.state()
        tree = etree.fromstring(domain.XMLDesc().encode())
        running = state in _RUNNING
        return DomainFacts(
            instance=domain.name(),
            state=_state(state, reason, is_killed=domain.name() in self._link.killed),
            paused=state == libvirt.VIR_DOMAIN_PAUSED,
            io_error=_is_stalled(state, reason),
            display=Display(port=_port(tree) if running else 0),
            accelerator=_ACCELERATORS.get(tree.get("type", ""), Accelerator.UNPROVED),
        )

    def account(self, spec: MachineSpec) -> Account | None:
        """A user told from the port the machine was lent, which no other instance of this host has.

        None where libvirt runs guests as ourselves, and for Xen. Raises Refused(invalid) for a machine without a port,
        Failed(missing) without the guests' group.
        """
        mine = self._settings.hypervisor
        if self._xen or mine.uri.split("?")[0].endswith("/session"):
            return None
        if not spec.display_port:
            raise Refused("invalid", f"{spec.instance} was lent no display port", "the account of a guest is told from it")
        try:
            return Account(mine.guest_uid_first + spec.display_port, grp.getgrnam(mine.guest_group).gr_gid)
        except KeyError as e:
            raise Failed("missing", f"The group {mine.guest_group} is not there", "hypervisor.guest_group names the guests' group") from e

    def screen(self, facts: DomainFacts, at: Path) -> Path | int:
        """See :class:`nc.drivers.base.Hypervisor`."""
        return facts.display.port if self._xen else at

    def busy_s(self, instance: str) -> float | None:
        """See :class:`nc.drivers.base.Hypervisor`."""
        try:
            return self._link.ask(lambda c: _busy_s(c, _find(c, instance)), what=f"{instance} could not be looked at")
        except Absent:
            return None

    def watch(self, callback: Callable[[str], None]) -> None:
        """See :class:`nc.drivers.base.Watched`."""
        self._callback = callback

    def _changed(self, name: str) -> None:
        if not name or ids.is_id(name, "ins"):
            self._callback(name)

    def close(self) -> None:
        """End the connection; the next verb opens it again."""
        self._link.close()

    @property
    def _xen(self) -> bool:
        return self._settings.hypervisor.uri.startswith("xen")

    def _proved(self) -> kvm_proof.Proof:
        with self._proving:
            if self._proof is None:
                self._proof = kvm_proof.prove(self._settings)
            return self._proof


def _busy_s(connection: Any, domain: Any) -> float | None:
    state, _, _, _, used_ns = domain.info()
    if state not in _RUNNING:
        return None
    told: dict[str, Any] = {}
    # not every hypervisor has these, and what would have to wait for the guest's process is not asked for
    with contextlib.suppress(libvirt.libvirtError):
        told = connection.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_VCPU, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)[0][1]
    waited_ns = sum(value for name, value in told.items() if name.startswith("vcpu.") and name.endswith(".delay"))
    return float(used_ns + waited_ns) / 1e9


def _find(connection: Any, instance: str) -> Any:
    domain = connection.lookupByName(instance)
    if not _is_ours(domain):
        raise Failed("hypervisor", f"{instance} is not ours", "another domain has that name")
    return domain


def _is_ours(domain: Any) -> bool:
    name = domain.name()
    return ids.is_id(name, "ins") and domain.UUIDString() == libvirt_xml.domain_uuid(name)


def _begin(domain: Any) -> None:
    try:
        # on an export it runs when its disk stands as it shall
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if libvirt_base.is_lazy(domain) else 0)
    except libvirt.libvirtError:
        if not domain.isActive():
            raise


def _go(domain: Any) -> None:
    """A guest that was not let run yet."""
    try:
        libvirt_base.on_export(domain)
    except (Failed, libvirt.libvirtError):
        # else it would pass for one that runs
        domain.destroy()
        raise
    domain.resume()


def _no_ipv6(domain: Any) -> None:
    """The host has no address on a guest's tap: else it speaks IPv6 with a guest nobody meant it to.

    It also keeps programs on this host quiet that take a new address for a change of their network, browsers among them.
    """
    for target in etree.fromstring(domain.XMLDesc().encode()).iterfind("devices/interface/target[@dev]"):
        with contextlib.suppress(OSError):
            (_IPV6 / target.get("dev") / "disable_ipv6").write_text("1\n", "ascii")


def _connect(domain: Any) -> None:
    if not domain.isActive():
        return
    for card in etree.fromstring(domain.XMLDesc().encode()).iterfind("devices/interface"):
        link = card.find("link[@state='down']")
        if link is not None:
            link.set("state", "up")
            domain.updateDeviceFlags(etree.tostring(card, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _shutdown(domain: Any) -> None:
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        # a guest that cannot be asked (paused, just ended) is left to the deadline
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_SUPPORT):
            raise


def _destroy(domain: Any) -> None:
    if not domain.isActive():
        return
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or domain.isActive():
            raise


def _is_stalled(state: int, reason: int) -> bool:
    """Without an error policy QEMU pauses a guest whose write finds no room; other errors the guest is told of."""
    return (state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def _state(state: int, reason: int, *, is_killed: bool) -> DomainState:
    """A guest that was told to end from outside crashed: only libvirt's news tell that from one that ended by itself."""
    if state in _RUNNING:
        return DomainState.RUNNING
    crashed = state == libvirt.VIR_DOMAIN_CRASHED or (
        state == libvirt.VIR_DOMAIN_SHUTOFF
        and (reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED or (is_killed and reason == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN))
    )
    return DomainState.CRASHED if crashed else DomainState.STOPPED


def _port(tree: Any) -> int:
    ours = tree.find(f"metadata/{{{libvirt_xml.NAMESPACE}}}instance")
    return int(ours.get("display-port", "0")) if ours is not None else 0
