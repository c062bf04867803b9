"""The cluster's image cache, between Walrus and the nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from cc.services import neighbours
from cc.services.office import Office
from luhyaapi.contracts.commands import ImageFetch
from luhyaapi.contracts.specs import Blob, ImageRef
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Refused
from luhyaapi.role import Job
from luhyaapi.transfer import courier, growing
from luhyaapi.transfer.arrivals import Coming
from luhyaapi.transfer.base import Progress
from luhyaapi.transfer.demand import Demand
from luhyaapi.wire import tls
from luhyaapi.wire.identity import role_name
from luhyaapi.wire.signing import make_ticket


def _progress(job: Job, before: int, total: int) -> Progress:
    return lambda done, _size: job.progress("fetch", before + done, total)


def fetch(job: Job, order: ImageFetch) -> None:
    """Have every blob of an image version here; what is here does not move. Of a disk that may come lazily it is enough that it comes."""
    office: Office = job.services
    total = sum(b.size for b in order.ref.blobs)
    before = 0
    for blob in order.ref.blobs:
        job.checkpoint()
        if order.keep_until:
            office.cache.pin(blob.sha256, job.task, order.keep_until)
        before += blob.size
        if order.lazy and office.arrivals.may(blob):
            office.arrivals.bring(Coming(blob=blob, url=order.url, ticket=order.ticket), job.cancelled)
            continue
        courier.fetch(
            office.cache, blob, f"{order.url}/blobs/{blob.sha256}", order.ticket,
            on_progress=_progress(job, before - blob.size, total),
            demand=None if office.arrivals.is_inline else Demand(blob.size, rests=False),
            cancelled=job.cancelled, trust=tls.trust(office.agent.identity, role_name(Role.WALRUS)),
        )
    job.progress("fetch", total, total)


def release(job: Job, order: ImageFetch) -> None:
    """Fetching came to nothing: what came is kept no longer than anything else."""
    if order.keep_until:
        for blob in order.ref.blobs:
            job.services.cache.unpin(blob.sha256, job.task, order.keep_until)


def order_for(office: Office, ref: ImageRef, node: str, keep_until: float = 0, *, lazy: bool = False) -> ImageFetch:
    """What a node is told: to have it from its neighbours, or from here."""
    ticket = make_ticket(office.agent.key, {"get": [b.sha256 for b in ref.blobs], "to": node}, neighbours.TICKET_LIFE_S)
    return ImageFetch(
        image=ref.image, ref=ref, url=f"{office.door}/cc/api/1.0", ticket=ticket, neighbours=neighbours.of(office, ref, node), keep_until=keep_until,
        lazy=lazy,
    )


def has(office: Office, image: ImageRef) -> bool:
    """Whether every blob of an image version is here."""
    return all(office.cache.path(b.sha256) is not None for b in image.blobs)


def comes(office: Office, image: ImageRef) -> bool:
    """Whether every blob of it is here or just coming, so that nodes are given what came."""
    return all(office.cache.path(b.sha256) is not None or growing.of(office.cache.folder, b.sha256) is not None for b in image.blobs)


def expects(office: Office, sha256: str) -> bool:
    """Whether that file is on its way here."""
    return office.arrivals.comes(sha256) or growing.of(office.cache.folder, sha256) is not None


def forget(office: Office, blobs: Iterable[Blob]) -> None:
    """Drop blobs nobody needs any more; one that is still in use stays, and goes by eviction."""
    for blob in blobs:
        office.arrivals.forget(blob.sha256)
        with contextlib.suppress(Refused):
            office.cache.remove(blob.sha256)
