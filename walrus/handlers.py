"""Handlers: ImagePublish, ImageAdopt, ImageImport, ImageCompare, ImageDelete."""

from __future__ import annotations

from functools import partial

from luhyaapi import clock
from luhyaapi.contracts.commands import ImageAdopt, ImageCompare, ImageDelete, ImageImport, ImagePublish
from luhyaapi.role import Done, Handler, Job, handles
from walrus.services.comparing import compare


def _cancelled(job: Job) -> bool:
    """Raises when it was cancelled, and otherwise when the role stops: that is no reason to throw away what came."""
    job.checkpoint()
    return False


@handles(ImagePublish)
class PublishImage(Handler[ImagePublish]):
    """Check an upload and make it visible, or refuse it and leave nothing."""

    def run(self, job: Job, command: ImagePublish) -> Done:
        published = job.services.library.publish(command.upload, command.parts, cancelled=partial(_cancelled, job), tell=job.progress)
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
        job.services.library.drop(command.draft)


@handles(ImageImport)
class ImportImage(Handler[ImageImport]):
    """Fetch a disk from a URL and publish it, or refuse it and leave nothing."""

    def run(self, job: Job, command: ImageImport) -> Done:
        within_s = job.envelope.deadline - clock.now()
        published = job.services.imports.run(command, within_s, cancelled=partial(_cancelled, job), tell=job.progress)
        return Done({"blobs": published.blobs, "parts": published.parts})

    def undo(self, job: Job, command: ImageImport) -> None:
        job.services.library.abandon(command.upload)


@handles(ImageCompare)
class CompareImage(Handler[ImageCompare]):
    """Look into the indexes of two versions; no block is read."""

    def run(self, job: Job, command: ImageCompare) -> Done:
        return Done({"difference": compare(job.services.store, command.one, command.other, cancelled=job.cancelled)})


@handles(ImageDelete)
class DeleteImage(Handler[ImageDelete]):
    """Remove blobs nobody needs; the CLC has looked that no version does."""

    def run(self, job: Job, command: ImageDelete) -> None:
        job.services.library.delete(command.blobs, set())
