"""Handlers: ImageFetch, ImageDelete."""

from __future__ import annotations

import contextlib

from luhyaapi.contracts.commands import ImageDelete, ImageFetch
from luhyaapi.errors import Refused
from luhyaapi.role import Handler, Job, handles
from luhyaapi.transfer import courier
from luhyaapi.transfer.base import Progress
from luhyaapi.wire import tls


def _progress(job: Job, before: int, total: int) -> Progress:
    return lambda done, _size: job.progress("fetch", before + done, total)


@handles(ImageFetch)
class FetchImage(Handler[ImageFetch]):
    """Bring an image from the cluster's cache; what is here does not move. The task keeps it here until its domain does."""

    def run(self, job: Job, command: ImageFetch) -> None:
        agent, total = job.services.agent, sum(b.size for b in command.ref.blobs)
        before = 0
        for blob in command.ref.blobs:
            job.checkpoint()
            job.services.cache.pin(blob.sha256, job.task)
            courier.fetch(
                job.services.cache, blob, f"{command.url}/blobs/{blob.sha256}", command.ticket,
                on_progress=_progress(job, before, total),
                cancelled=job.cancelled, trust=tls.trust(agent.identity, agent.boss),
            )
            before += blob.size
        job.progress("fetch", total, total)


@handles(ImageDelete)
class DeleteImage(Handler[ImageDelete]):
    """Drop blobs that nothing needs; one that is still in use stays, and goes by eviction."""

    def run(self, job: Job, command: ImageDelete) -> None:
        for blob in command.blobs:
            with contextlib.suppress(Refused):
                job.services.cache.remove(blob.sha256)
