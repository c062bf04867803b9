"""Disk files for tests of what comes into the store: a small raw disk, every format of it, packings, appliances."""

import bz2
import gzip
import io
import lzma
import struct
import subprocess
import tarfile

import zstandard

MIB = 1024 * 1024
VHDX_REGIONS = 192 * 1024
PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}
FORMATS = {
    "qcow2": ("qcow2",), "qcow2 packed": ("qcow2", "-c"), "vmdk": ("vmdk",), "vmdk stream": ("vmdk", "-o", "subformat=streamOptimized"),
    "vdi": ("vdi",), "vdi fixed": ("vdi", "-o", "static=on"),
    "vhdx": ("vhdx", "-o", "block_size=1M"), "vhdx fixed": ("vhdx", "-o", "subformat=fixed,block_size=1M"),
    "vhd": ("vpc", "-o", "force_size=on"), "vhd fixed": ("vpc", "-o", "subformat=fixed,force_size=on"),
}


def qemu_img(*args):
    subprocess.run(["qemu-img", *map(str, args)], check=True, capture_output=True)


def bare(size=2 * MIB):
    """A partitioned disk with content behind a long hole."""
    data = bytearray(size)
    data[446:462] = struct.pack("<B3BB3BII", 0x80, 0, 1, 0, 0x83, 0, 0, 0, 2048, 2048)
    data[510:512] = b"\x55\xaa"
    data[size // 2:size // 2 + 200_000] = (bytes(range(256)) * 800)[:200_000]
    data[-512:] = b"E" * 512
    return bytes(data)


def made(folder, name, data=None):
    """The file ``name``, one of FORMATS or raw, in ``folder``."""
    raw = folder / "made.raw"
    raw.write_bytes(bare() if data is None else data)
    if name == "raw":
        return raw
    file = folder / f"made.{name.replace(' ', '-')}"
    qemu_img("convert", "-f", "raw", "-O", *FORMATS[name], raw, file)
    return file


def vhdx_parts(data):
    """Where in a vhdx its table ("map"), its metadata and each item (by the begin of its number) lie."""
    found = {}
    for n in range(2):
        name, at, *_ = struct.unpack_from("<16sQII", data, VHDX_REGIONS + 16 + 32 * n)
        found["map" if name.hex().startswith("6677c22d") else "metadata"] = at
    for n in range(5):
        name, at, *_ = struct.unpack_from("<16sIIII", data, found["metadata"] + 32 + 32 * n)
        found[name.hex()[:8]] = found["metadata"] + at
    return found


def patch(file, offset, data):
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def member(name, kind=tarfile.REGTYPE, link="", size=None):
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, size or 0
    return found


def tar(*members, form=tarfile.USTAR_FORMAT):
    """A tar of (name or TarInfo, bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as opened:
        for what, data in members:
            info = what if isinstance(what, tarfile.TarInfo) else member(what)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ovf(*disks):
    """A description that names these files as disks."""
    files = "".join(f'<File ovf:href="{name}" ovf:id="f{n}"/>' for n, name in enumerate(disks))
    drives = "".join(f'<Disk ovf:diskId="d{n}" ovf:fileRef="f{n}" ovf:capacity="2"/>' for n, _ in enumerate(disks))
    return (
        '<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">'
        f"<References>{files}</References><DiskSection>{drives}</DiskSection></Envelope>"
    ).encode()
