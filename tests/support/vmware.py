"""A streamOptimized vmdk as VMware writes it (qemu-img writes another): tables at the end, a footer that says where; each part can lie."""

import struct
import zlib

AT_END = 0xFFFFFFFFFFFFFFFF
_GRAIN = 128


def stream(disk, *, extents=None, kind="streamOptimized", parent="ffffffff", header=None, footer=None):
    """The bytes of it. ``header`` and ``footer`` replace fields, ``extents`` the lines of the description that name parts."""
    sectors = len(disk) // 512
    lines = [
        "# Disk DescriptorFile", "version=1", "CID=4ba9c0de", f"parentCID={parent}", f'createType="{kind}"',
        *([f'RDONLY {sectors} SPARSE "call-me-stream.vmdk"'] if extents is None else extents),
        "#DDB", 'ddb.adapterType = "lsilogic"', 'ddb.virtualHWVersion = "4"', 'ddb.toolsInstallType = "4"',
    ]
    description = "\n".join(lines).encode()
    length = -(-len(description) // 512)
    fields = {
        "version": 3, "flags": 0x30001, "capacity": sectors, "grain": _GRAIN, "descriptor": 1, "descriptor_size": length, "entries": 512,
        "directory": AT_END, "newlines": b"\n \r\n", "compression": 1,
    }
    out = bytearray(_header(fields | (header or {})) + description.ljust(length * 512, b"\0"))
    out.extend(bytes(-len(out) % (128 * 512)))
    table = []
    for at in range(0, len(disk), _GRAIN * 512):
        grain = disk[at:at + _GRAIN * 512]
        table.append(len(out) // 512 if any(grain) else 0)
        if any(grain):
            packed = zlib.compress(grain.ljust(_GRAIN * 512, b"\0"))
            out += _filled(struct.pack("<QI", at // 512, len(packed)) + packed)
    tables = []
    for first in range(0, len(table), 512):
        out += _marker(4, 1)
        tables.append(len(out) // 512)
        out += struct.pack("<512I", *(table[first:first + 512] + [0] * 512)[:512])
    out += _marker(1, 2)
    directory = len(out) // 512
    out += _filled(struct.pack(f"<{len(tables)}I", *tables))
    out += _marker(1, 3) + _header(fields | {"directory": directory} | (footer or {})) + bytes(512)
    return bytes(out)


def _header(f):
    return struct.pack(
        "<4sIIQQQQIQQQB4sH433x", b"KDMV", f["version"], f["flags"], f["capacity"], f["grain"], f["descriptor"], f["descriptor_size"],
        f["entries"], 0, f["directory"], 128, 0, f["newlines"], f["compression"],
    )


def _marker(sectors, kind):
    return _filled(struct.pack("<QII", sectors, 0, kind))


def _filled(data):
    return data + bytes(-len(data) % 512)
