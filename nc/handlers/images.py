"""Handlers: ImageFetch, DiskPush, ImageDelete."""

from __future__ import annotations

import contextlib
from functools import partial

from luhyaapi.contracts.commands import DiskPush, ImageDelete, ImageFetch
from luhyaapi.contracts.vocabulary import Part
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.role import Handler, Job, handles
from luhyaapi.transfer import courier
from luhyaapi.transfer.arrivals import Coming
from luhyaapi.transfer.base import Progress, Source
from luhyaapi.transfer.pushing import push
from luhyaapi.wire import tls
from nc.services import disks
from nc.services.merged import Merged


def _progress(job: Job, before: int, total: int) -> Progress:
    return lambda done, _size: job.progress("fetch", before + done, total)


@handles(ImageFetch)
class FetchImage(Handler[ImageFetch]):
    """Bring an image from neighbours and the cluster's cache; what is here does not move.

    The task keeps it here until its domain does, or for a time. Of a disk that may come lazily it is enough that it can be read.
    """

    def run(self, job: Job, command: ImageFetch) -> None:
        exports, url = job.services.domains.exports, f"{command.url}/blobs"
        agent, total = job.services.agent, sum(b.size for b in command.ref.blobs)
        before = 0
        for blob in command.ref.blobs:
            job.checkpoint()
            job.services.cache.pin(blob.sha256, job.task, command.keep_until)
            before += blob.size
            if command.lazy and exports.may(blob):
                exports.bring(Coming(blob=blob, url=command.url, ticket=command.ticket, neighbours=command.neighbours), job.cancelled)
                continue
            courier.fetch(
                job.services.cache, blob, f"{url}/{blob.sha256}", command.ticket,
                on_progress=_progress(job, before - blob.size, total),
                cancelled=job.cancelled, trust=tls.trust(agent.identity, agent.boss),
                neighbours=[
                    Source(f"{near.url}/blobs/{blob.sha256}", {"Authorization": f"Ticket {near.ticket}"}, tls.trust(agent.identity, near.host))
                    for near in command.neighbours
                ],
            )
        job.progress("fetch", total, total)

    def undo(self, job: Job, command: ImageFetch) -> None:
        """What came stays, until it is evicted."""
        if command.keep_until:
            for blob in command.ref.blobs:
                job.services.cache.unpin(blob.sha256, job.task, command.keep_until)


@handles(DiskPush)
class PushDisk(Handler[DiskPush]):
    """Push what differs from the image up."""

    def run(self, job: Job, command: DiskPush) -> None:
        agent, cache = job.services.agent, job.services.cache
        with job.services.domains.at_rest(command.instance) as (wanted, folder):
            base = wanted.spec.image.blob(Part.DISK)
            if base is None:
                raise Refused("state", "The instance has no disk", "its image is a kernel with its ram disk")
            if job.services.domains.exports.comes(base.sha256):
                raise Unavailable("busy", "The image of the instance still comes", "its disk can be read when it is here")
            with Merged(disks.system(folder, wanted.spec.disk), lambda: cache.path(base.sha256), cache.index(base.sha256)) as disk:
                index = disk.index(cancelled=job.cancelled, on_progress=partial(job.progress, "look"))
                to = Source(f"{command.url}/drafts/{command.draft}", {"Authorization": f"Ticket {command.ticket}"}, tls.trust(agent.identity, agent.boss))
                push(to, index, partial(disk.frames, index), on_progress=partial(job.progress, "push"), cancelled=job.cancelled)


@handles(ImageDelete)
class DeleteImage(Handler[ImageDelete]):
    """Drop blobs that nothing needs; one that is still in use stays, and goes by eviction."""

    def run(self, job: Job, command: ImageDelete) -> None:
        for blob in command.blobs:
            with contextlib.suppress(Refused):
                job.services.cache.remove(blob.sha256)
