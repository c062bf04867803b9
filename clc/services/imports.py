"""Images from a URL: the CLC says from where, the store fetches them and judges every address it is led to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from clc.services import events, images, uploads
from luhyaapi.contracts.commands import ImageImport
from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Refused
from luhyaapi.transfer.fetch import places
from luhyaapi.transfer.fetch.rules import Rules
from luhyadb import memory
from luhyadb.models import Account, Task

_SHA256 = re.compile("[0-9a-f]{64}")
_ANYWHERE = Rules(largest_bytes=1, allowed=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))
"""Which addresses may be reached is a setting of the store."""


@dataclass(frozen=True)
class Ask:
    """What somebody wants to import: the disk at ``url`` as a new image, or with ``new_version`` as the next one of the image of that name.

    An empty ``format`` or ``sha256`` (of the file as it lies there) is not known. ``more``: as of an upload.
    """

    name: str
    url: str
    new_version: bool = False
    usage: str = ""
    description: str = ""
    os_type: str = ""
    format: str = ""
    sha256: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


def begin(account: Account, ask: Ask) -> Task:
    """Have a disk fetched and published. Raises Refused(invalid | exists | not_found | forbidden), Unavailable(host_silent); then nothing is left."""
    where = _where(ask.url)
    if ask.format not in ("", *DiskFormat):
        raise Refused("invalid", "format is not possible", f"give qcow2, raw or nothing: it is found out; not {ask.format[:20]!r}", field="format")
    sha256 = ask.sha256.lower()
    if sha256 and not _SHA256.fullmatch(sha256):
        raise Refused("invalid", "A sha256 is not possible", "64 hexadecimal digits", field="sha256")
    with memory.atomic():
        version = images.next_version(account, images.Ask(
            ask.name, new_version=ask.new_version, usage=ask.usage, description=ask.description, os_type=ask.os_type, more=ask.more,
        ))
        task = images.give("image/import", account, version, ImageImport(
            image=version.image_id, version=version.version, upload=uploads.new_name(), url=ask.url,
            format=DiskFormat(ask.format) if ask.format else None, sha256=sha256,
        ))
        events.record("image", version.image_id, "import began", owner=account, task=task.pk, version=version.version, url=where)
    return task


def _where(url: str) -> str:
    """The URL as it may be shown. Raises Refused(invalid) for one that cannot be fetched, or that carries credentials."""
    try:
        place = places.parse(url, _ANYWHERE)
    except Refused as e:
        e.params["field"] = "url"
        raise
    if place.user or place.password:
        raise Refused("invalid", "That URL may not be fetched", "it has a user name or password in it, which others would get to see", field="url")
    return place.shown
