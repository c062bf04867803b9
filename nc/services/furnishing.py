"""The files of one guest on its node: made once, given to its account, the old ones dropped; no copy of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luhyaapi.contracts.specs import MIB, Blob, MachineSpec
from luhyaapi.contracts.vocabulary import DiskFormat, Part
from luhyaapi.errors import Refused
from luhyaapi.transfer.cache import BlobCache
from nc.drivers.base import Files, Hypervisor, NodeNetwork
from nc.services import belongings, disks
from nc.services.lazy.exports import Exports
from nc.services.metadata import Metadata


@dataclass(frozen=True)
class Hands:
    """The drivers of this node."""

    hypervisor: Hypervisor
    network: NodeNetwork
    cache: BlobCache
    metadata: Metadata | None = None
    """None: guests of this node have nobody to ask about themselves."""


def furnish(spec: MachineSpec, hands: Hands, exports: Exports, folder: Path, *, offline: bool = False) -> Files:
    """Have all files of a guest that does not run in ``folder``, as it may use them. What is there stays, but older system disks.

    ``offline``: it begins without a carrier.

    Raises Refused(not_found) when its image is not here, Failed(disk_full | hypervisor | network).
    """
    account = hands.hypervisor.account(spec)
    if account:
        for each in (hands.cache.folder, folder.parent, folder):
            belongings.way(each, account)
    paths: dict[Part, Path] = {}
    coming: Blob | None = None
    for blob in spec.image.blobs:
        path = hands.cache.path(blob.sha256)
        if path is None and not (exports.may(blob) and exports.comes(blob.sha256)):
            raise Refused("not_found", f"The {blob.part} of the image is not on this node", blob.sha256[:12])
        hands.cache.pin(blob.sha256, spec.instance)
        if path:
            belongings.image(path, account)
        else:
            coming = blob
        paths[blob.part] = path or hands.cache.place(blob.sha256)
    log_file = belongings.log(folder / "console.log", account)
    disks.trim_log(log_file)
    disk = seed = None
    if base := spec.image.blob(Part.DISK):
        to_come = coming.size if coming else None
        disk = disks.overlay(paths[Part.DISK], DiskFormat(base.format), disks.system(folder, spec.disk), to_come=to_come)
        hostname = disks.hostname_of(spec.name, spec.instance)
        seed = disks.seed_iso(folder / "seed.iso", spec.instance, hostname, spec.ssh_keys, spec.user_data, offline=spec.first_boot_offline)
        if account:
            belongings.own(disk, account)
            belongings.own(seed, account, 0o400)
    # only now: there is one at any moment
    disks.drop_systems(folder, but=disk)
    data = disks.data(folder / "data.raw", spec.data_disk_mib * MIB) if spec.data_disk_mib else None
    if data and account:
        belongings.own(data, account)
    _let_go(spec, hands.cache)
    exports.close(spec.instance)
    export = exports.open(spec.instance, belongings.export_of(folder), coming, account) if coming else None
    taps = {nic.mac: hands.network.plug(spec.instance, nic) for nic in spec.nics}
    return Files(
        console_log=log_file, disk=disk, data=data, base=paths.get(Part.DISK), base_format=DiskFormat(base.format if base else DiskFormat.RAW),
        base_socket=export, kernel=paths.get(Part.KERNEL), initrd=paths.get(Part.INITRD), seed=seed, taps=taps,
        screen=belongings.screen(folder, account), serial=belongings.serial(folder),
        first_boot=belongings.first_boot(folder) if offline else None, account=account,
    )


def _let_go(spec: MachineSpec, cache: BlobCache) -> None:
    """The files of the version it stood on before."""
    mine = {blob.sha256 for blob in spec.image.blobs}
    for sha256, owners in cache.pins().items():
        if spec.instance in owners and sha256 not in mine:
            cache.unpin(sha256, spec.instance)
