"""Where the remote desktop (RDP) of an instance is reached from outside, and the file its viewers open."""

from __future__ import annotations

from luhyaapi.contracts.vocabulary import NetworkMode, Protocol
from luhyaapi.errors import Refused
from luhyadb.models import ElasticAddress, Forward, Instance

PORT = 3389
_LINES = (
    "screen mode id:i:2", "dynamic resolution:i:1", "session bpp:i:32", "authentication level:i:2", "prompt for credentials:i:1",
    "redirectclipboard:i:1", "autoreconnection enabled:i:1",
)
"""As Windows' own viewer names them: a full screen that follows the window, a warning where the server's key is not known, no password kept."""


def reached_at(row: Instance) -> tuple[str, int] | None:
    """Address and port, by what leads there: a port of its cluster, a public address, its own address on the campus; None: nothing."""
    lent = Forward.objects.filter(instance=row, protocol=Protocol.TCP, guest_port=PORT).exclude(address="").exclude(port=0).first()
    if lent is not None:
        return lent.address, lent.port
    public = ElasticAddress.objects.filter(instance=row).values_list("address", flat=True).first()
    if public:
        return public, PORT
    return next(((str(nic["ip"]), PORT) for nic in row.nics if nic.get("mode") == NetworkMode.CAMPUS), None)


def file(row: Instance) -> str:
    """The file (``.rdp``, lines end in CRLF). Raises Refused(state) when nothing leads there."""
    found = reached_at(row)
    if found is None:
        raise Refused("state", "Nothing leads to the remote desktop of this instance", f"its port {PORT} is not reached from outside",
                      hint=f"Open it: educloud forward add {row.name} {PORT}")
    address, port = found
    return "".join(f"{line}\r\n" for line in (f"full address:s:{address}:{port}", *_LINES))
