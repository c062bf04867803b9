"""Dead letters of a boss's broker: kept with their story, and sent again when a person wants it: the only writer of Letter."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock, ids, log
from luhyaapi.command.send import Order, stamp
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.reports import LetterFacts
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire import topology
from luhyaapi.wire.link import Dead, DownLink
from luhyaapi.wire.signing import open_sealed, seal
from luhyadb.models import Letter

_log = log.get(__name__)
KEEP_S = 30 * 86400.0
KEPT_AT_MOST = 1000
UNREADABLE = "it cannot be read"


def keep(me: str, dead: Dead) -> LetterFacts:
    """Keep a letter that died in our broker; its story as a report."""
    envelope = _inside(dead.message)
    row = Letter(
        id=ids.new("ltr"), host=me, created_at=clock.now(), queue=dead.queue[:80], reason=dead.reason[:200], times=dead.times,
        text=dead.message.decode("utf-8", "replace"),
    )
    if envelope is not None:
        row.kind, row.task, row.sender = envelope.kind[:40], envelope.task[:20], envelope.sender[:20]
        row.to, row.about = envelope.to[:20], envelope.subject[:100]
    row.save(force_insert=True)
    _log.error("dead letter", letter=row.id, kind=row.kind or UNREADABLE, queue=row.queue, reason=row.reason, task=row.task)
    return _story(row)


def heard(report: LetterFacts) -> None:
    """A boss below keeps one, or has done with it."""
    if report.gone:
        Letter.objects.filter(pk=report.letter, host=report.host).delete()
        return
    fields = report.model_dump(exclude={"letter", "gone", "message", "at"}) | {"kind": report.message, "created_at": report.at}
    Letter.objects.update_or_create(pk=report.letter, defaults=fields)


def want_again(letter: str) -> None:
    """Send it again soon. Raises Refused(not_found | state)."""
    row = _one(letter)
    if not row.kind:
        raise Refused("state", "This letter cannot be sent again", UNREADABLE, hint="Drop it; whoever sent it says it again if it matters.")
    Letter.objects.filter(pk=letter).update(wanted_again=True)


def drop(letter: str) -> LetterFacts:
    """Forget it; its story ends. Raises Refused(not_found)."""
    row = _one(letter)
    row.delete()
    return _story(row, letter, gone=True)


def _one(letter: str) -> Letter:
    row = Letter.objects.filter(pk=letter).first()
    if row is None:
        raise Refused("not_found", "There is no such dead letter", letter[:40])
    return row


def send_wanted(me: str, down: DownLink, key: Ed25519PrivateKey, patience_s: float) -> list[LetterFacts]:
    """Send again what is wanted: a report as it was, an order newly signed while its deadline holds. Stories of what changed."""
    told: list[LetterFacts] = []
    for row in Letter.objects.filter(host=me, wanted_again=True).order_by("created_at"):
        envelope = _proved(row.text.encode(), me, key)
        changes: dict[str, object] = {"wanted_again": False, "sent_again_at": clock.now()}
        try:
            if envelope is None:
                raise Refused("state", "It cannot be sent again", UNREADABLE)
            if envelope.sender == me:
                if envelope.deadline < clock.now():
                    raise Refused("expired", "The order is over", "its deadline passed; ask for it anew")
                order = Order(**envelope.model_dump(include=set(Order.model_fields)))
                fresh = seal(stamp(order, me, patience_s), key)
                down.command(envelope.to, fresh, control=topology.is_control(envelope.kind))
            else:
                down.report_again(envelope.sender, row.text.encode())
        except Unavailable:
            return told
        except Refused as e:
            changes = {"wanted_again": False, "reason": str(e)[:200]}
        Letter.objects.filter(pk=row.pk).update(**changes)
        row.refresh_from_db()
        told.append(_story(row))
    return told


def sweep(me: str) -> None:
    """Forget what is older than a month, and the oldest when there are too many."""
    Letter.objects.filter(created_at__lt=clock.now() - KEEP_S).delete()
    old = Letter.objects.filter(host=me).order_by("-created_at").values_list("pk", flat=True)[KEPT_AT_MOST:]
    Letter.objects.filter(pk__in=list(old)).delete()


def count() -> int:
    """Letters nobody has dealt with."""
    return Letter.objects.filter(sent_again_at=0).count()


def _story(row: Letter, letter: str = "", *, gone: bool = False) -> LetterFacts:
    return LetterFacts(
        letter=letter or row.pk, host=row.host, at=row.created_at, queue=row.queue, reason=row.reason, times=row.times, message=row.kind,
        task=row.task, sender=row.sender, to=row.to, about=row.about, sent_again_at=row.sent_again_at, gone=gone,
    )


def _proved(message: bytes, me: str, key: Ed25519PrivateKey) -> Envelope | None:
    """What a message says, and for one that says it is ours the proof that it is: else we would sign another's order."""
    envelope = _inside(message)
    if envelope is None or envelope.sender != me:
        return envelope
    try:
        return open_sealed(message, lambda sender: key.public_key() if sender == me else None)
    except Refused:
        return None


def _inside(message: bytes) -> Envelope | None:
    """What a signed message says, unproved: only to be shown, and to be signed anew by whom it names."""
    try:
        return Envelope.model_validate_json(json.loads(message)["signed"])
    except (ValueError, KeyError, TypeError):
        return None
