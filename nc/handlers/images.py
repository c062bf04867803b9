"""Handlers: ImageFetch, ImageDelete."""

from __future__ import annotations

from luhyaapi.contracts.commands import ImageDelete, ImageFetch
from luhyaapi.role import Handler, Job, handles
from luhyaapi.transfer import courier


@handles(ImageFetch)
class FetchImage(Handler[ImageFetch]):
    """Bring an image from the cluster's cache; what is here does not move."""

    def run(self, job: Job, command: ImageFetch) -> None:
        total = sum(b.size for b in command.ref.blobs)
        before = 0
        for blob in command.ref.blobs:
            job.checkpoint()
            courier.fetch(
                job.services.cache, blob, f"{command.url}/blobs/{blob.sha256}", command.ticket,
                on_progress=lambda done, _size, before=before: job.progress("fetch", before + done, total),
                cancelled=job.cancelled,
            )
            before += blob.size
        job.progress("fetch", total, total)


@handles(ImageDelete)
class DeleteImage(Handler[ImageDelete]):
    """Drop blobs that nothing needs."""

    def run(self, job: Job, command: ImageDelete) -> None:
        for blob in command.blobs:
            job.services.cache.remove(blob.sha256)
