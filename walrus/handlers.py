"""Handlers: ImagePublish, ImageAdopt, ImageDelete."""

from __future__ import annotations

from luhyaapi.contracts.commands import ImageAdopt, ImageDelete, ImagePublish
from luhyaapi.role import Done, Handler, Job, handles


@handles(ImagePublish)
class PublishImage(Handler[ImagePublish]):
    """Check an upload and make it visible, or refuse it and leave nothing."""

    def run(self, job: Job, command: ImagePublish) -> Done:
        published = job.services.library.publish(command.upload, command.parts, cancelled=job.cancelled, tell=job.progress)
        return Done({"blobs": published.blobs, "parts": published.parts})

    def undo(self, job: Job, command: ImagePublish) -> None:
        job.services.library.abandon(command.upload)


@handles(ImageAdopt)
class AdoptImage(Handler[ImageAdopt]):
    """Keep the disk that came up as a draft."""

    def run(self, job: Job, command: ImageAdopt) -> Done:
        published = job.services.library.adopt(command.draft, cancelled=job.cancelled, tell=job.progress)
        return Done({"blobs": published.blobs, "parts": published.parts})

    def undo(self, job: Job, command: ImageAdopt) -> None:
        job.services.library.drafts.abandon(command.draft)


@handles(ImageDelete)
class DeleteImage(Handler[ImageDelete]):
    """Remove blobs nobody needs; the CLC has looked that no version does."""

    def run(self, job: Job, command: ImageDelete) -> None:
        job.services.library.delete(command.blobs, set())
