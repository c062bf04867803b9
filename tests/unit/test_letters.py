"""Dead letters: their story is kept, what is ours is signed anew, what only says so is not."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock
from luhyaapi.command.send import compose, stamp
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.commands import InstanceStop
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.link import Dead
from luhyaapi.wire.signing import open_sealed, seal
from luhyadb import letters
from luhyadb.models import Letter

pytestmark = pytest.mark.django_db(databases=["default", "cc"])
ME, CC = "clc-0000000a", "cc-0000000c"
KEY, CHILD = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


class Line:
    """A link down that remembers what it was given; ``broken`` is a broker that does not answer."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken, self.orders, self.reports = broken, [], []

    def command(self, to, message, *, control):
        self._alive()
        self.orders.append((to, message, control))

    def report_again(self, sender, message):
        self._alive()
        self.reports.append((sender, message))

    def _alive(self):
        if self.broken:
            raise Unavailable("broker_down", "Away")


def order(deadline_s: float = 600, key=KEY) -> bytes:
    made = compose(InstanceStop(instance="ins-00000001"), CC, sender=ME, task="tsk-00000001", deadline=clock.now() + deadline_s)
    return seal(stamp(made, ME, 30), key)


def report(key=CHILD) -> bytes:
    now = clock.now()
    return seal(Envelope(
        id="x", task="", kind="hello", sender=CC, to=ME, subject=f"hello:{CC}", issued_at=now, expires_at=now + 99, deadline=now + 99,
        epoch=1, seq=2, body="{}",
    ), key)


def kept(message: bytes, queue: str = f"cmd.{CC}.v1") -> Letter:
    return Letter.objects.get(pk=letters.keep(ME, Dead(message, queue, "failed at it", 5)).letter)


def sent(line: Line):
    return letters.send_wanted(ME, line, KEY, 30)


def test_a_letter_tells_its_story():
    row = kept(order())
    assert (row.kind, row.task, row.sender, row.to, row.about) == ("instance/stop", "tsk-00000001", ME, CC, "ins-00000001")
    assert (row.queue, row.reason, row.times) == (f"cmd.{CC}.v1", "failed at it", 5)
    assert letters.count() == 1


def test_nothing_goes_before_it_is_wanted():
    kept(order())
    line = Line()
    assert sent(line) == []
    assert line.orders == []


def test_an_order_goes_again_under_its_id_and_newly_signed():
    row = kept(order())
    letters.want_again(row.pk)
    line = Line()
    (story,) = sent(line)
    ((to, message, control),) = line.orders
    again = open_sealed(message, lambda _s: KEY.public_key())
    assert (to, control, again.id) == (CC, False, "tsk-00000001#0.0")
    assert story.sent_again_at > 0
    assert letters.count() == 0
    assert sent(line) == [], "once"


def test_an_order_past_its_deadline_is_not_sent_and_says_so():
    row = kept(order(-5))
    letters.want_again(row.pk)
    line = Line()
    (story,) = sent(line)
    assert line.orders == []
    assert "deadline passed" in story.reason


def test_a_report_goes_again_as_it_was():
    message = report()
    row = kept(message, f"rep.{ME}.v1")
    letters.want_again(row.pk)
    line = Line()
    sent(line)
    assert line.reports == [(CC, message)]


def test_what_only_says_that_it_is_ours_is_never_signed():
    row = kept(order(key=CHILD))
    letters.want_again(row.pk)
    line = Line()
    (story,) = sent(line)
    assert line.orders == []
    assert "cannot be" in story.reason


@pytest.mark.parametrize("message", [b"", b"nonsense", b"\xff\xfe", b"[]", json.dumps({"signed": "{}"}).encode()])
def test_what_cannot_be_read_is_kept_and_can_only_be_dropped(message):
    row = kept(message)
    assert row.kind == ""
    with pytest.raises(Refused, match="cannot be"):
        letters.want_again(row.pk)
    assert letters.drop(row.pk).gone
    assert not Letter.objects.exists()


def test_a_broker_that_is_away_changes_nothing():
    row = kept(order())
    letters.want_again(row.pk)
    assert sent(Line(broken=True)) == []
    assert Letter.objects.get(pk=row.pk).wanted_again
    assert len(sent(Line())) == 1


def test_a_clusters_letter_is_heard_and_forgotten():
    story = letters.keep(CC, Dead(order(), "q", "r", 1))
    Letter.objects.all().delete()
    letters.heard(story)
    assert Letter.objects.get().host == CC
    letters.heard(story.model_copy(update={"sent_again_at": 5.0}))
    assert Letter.objects.get().sent_again_at == 5.0
    letters.heard(story.model_copy(update={"gone": True}))
    assert not Letter.objects.exists()


def test_old_ones_and_too_many_are_forgotten(monkeypatch):
    monkeypatch.setattr(letters, "KEPT_AT_MOST", 2)
    for _ in range(4):
        kept(order())
    Letter.objects.filter(pk=Letter.objects.first().pk).update(created_at=1.0)
    letters.sweep(ME)
    assert Letter.objects.count() == 2


def test_an_unknown_letter_is_refused():
    for act in (letters.want_again, letters.drop):
        with pytest.raises(Refused) as e:
            act("ltr-00000000")
        assert e.value.code == "not_found"
