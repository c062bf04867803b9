"""Whether a durable report is the newest on its subject; remembered in the transaction that applies it."""

from __future__ import annotations

from luhyaapi import clock
from luhyaapi.contracts.base import Envelope
from luhyadb.models import Heard


def is_fresh(envelope: Envelope) -> bool:
    """True exactly once per report and never for an older one. Call inside ``memory.atomic()``."""
    key = {"origin": envelope.sender, "subject": envelope.subject[:100]}
    number = {"epoch": envelope.epoch, "seq": envelope.seq, "expires_at": envelope.expires_at}
    row = Heard.objects.filter(**key).first()
    if row is None:
        Heard.objects.create(**key, **number)
        return True
    if (row.epoch, row.seq) >= (envelope.epoch, envelope.seq):
        return False
    Heard.objects.filter(pk=row.pk).update(**number)
    return True


def prune() -> int:
    """Forget what can come no more: its own end refuses it at the door; how many rows."""
    return Heard.objects.filter(expires_at__lt=clock.now()).delete()[0]
