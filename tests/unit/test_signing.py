"""The door of messages and tickets: only what its sender signed, whole and in time, gets in; nothing else does harm."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.base import Envelope
from luhyaapi.errors import Refused
from luhyaapi.wire import signing

KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
NOW = 1_800_000_000.0
ENVELOPE = Envelope(
    id="tsk-00000001#0.0", task="tsk-00000001", kind="domain/stop", sender="cc-00000001", to="nc-00000001", issued_at=NOW,
    expires_at=NOW + 30, deadline=NOW + 300, body='{"instance":"ins-00000001"}',
)
GOOD = signing.seal(ENVELOPE, KEY)


def lookup(sender: str) -> Ed25519PublicKey | None:
    return KEY.public_key() if sender == "cc-00000001" else None


@pytest.fixture(autouse=True)
def time() -> Iterator[ManualClock]:
    mine = ManualClock(NOW)
    before = clock.use(mine)
    yield mine
    clock.use(before)


def _refused(message: bytes) -> str:
    before = signing.refusals()
    with pytest.raises(Refused) as e:
        signing.open_sealed(message, lookup)
    after = signing.refusals()
    assert after[e.value.code] == before.get(e.value.code, 0) + 1, "every refusal is counted"
    return e.value.code


def _outer(**over: Any) -> bytes:
    return json.dumps({**json.loads(GOOD), **over}).encode()


def test_what_is_sealed_opens_again() -> None:
    assert signing.open_sealed(GOOD, lookup) == ENVELOPE


@pytest.mark.parametrize("signature", [None, "", 0, False, [], {}])
def test_an_unsigned_message_is_refused(signature: Any) -> None:
    assert _refused(_outer(signature=signature)) == "unsigned"
    without = json.loads(GOOD)
    del without["signature"]
    assert _refused(json.dumps(without).encode()) == "unsigned"


@pytest.mark.parametrize("signature", ["x", "####", "é", base64.b64encode(b"0" * 64).decode(), base64.b64encode(b"").decode() or "=", 7, ["a"], {"a": 1}])
def test_a_wrong_signature_is_forged(signature: Any) -> None:
    assert _refused(_outer(signature=signature)) == "forged"


def test_another_key_is_forged() -> None:
    assert _refused(signing.seal(ENVELOPE, STRANGER)) == "forged"


def test_an_unknown_sender_is_forged() -> None:
    assert _refused(signing.seal(ENVELOPE.model_copy(update={"sender": "cc-00000009"}), KEY)) == "forged"


def test_one_changed_letter_is_forged() -> None:
    assert _refused(_outer(signed=json.loads(GOOD)["signed"].replace("ins-00000001", "ins-00000002"))) == "forged"


def test_a_signature_belongs_to_the_exact_bytes() -> None:
    """The same value written with other blanks is another message."""
    loose = json.dumps(json.loads(json.loads(GOOD)["signed"]), indent=1)
    assert _refused(_outer(signed=loose)) == "forged"


@pytest.mark.parametrize("message", [
    b"", b"{", b"null", b"7", b'"x"', b"[]", b"{}", b'{"signed":1,"signature":"x"}', b'{"signed":"{}","signature":"x"}', b"\xff\xfe\x00",
    b"[" * 100_000, b'{"signed":' * 50_000, b'{"signed":"\\ud800","signature":"x"}', b'{"signed":null}',
    json.dumps({"signed": "[" * 100_000, "signature": "x"}).encode(),
])
def test_what_cannot_be_read_is_refused(message: bytes) -> None:
    assert _refused(message) == "invalid"


def test_what_is_too_large_is_refused_unread() -> None:
    assert _refused(b"x" * (signing.MAX_MESSAGE_BYTES + 1)) == "invalid"
    huge = ENVELOPE.model_copy(update={"body": "x" * signing.MAX_MESSAGE_BYTES})
    assert _refused(signing.seal(huge, KEY)) == "invalid"


@pytest.mark.parametrize(("over", "code"), [
    ({"to": "nc-00000002"}, "misaddressed"),
    ({"sender": "cc-00000009"}, "misaddressed"),
    ({"sender": "", "to": "nc-00000001"}, "misaddressed"),
    ({"expires_at": NOW - 0.001}, "expired"),
    ({"issued_at": NOW + 301}, "expired"),
])
def test_the_address_and_the_time_must_fit(over: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as e:
        signing.check_address(ENVELOPE.model_copy(update=over), "nc-00000001", "cc-00000001")
    assert e.value.code == code


def test_a_clock_a_little_ahead_is_no_harm(time: ManualClock) -> None:
    signing.check_address(ENVELOPE.model_copy(update={"issued_at": NOW + 290}), "nc-00000001", "cc-00000001")
    time.sleep(29)
    signing.check_address(ENVELOPE, "nc-00000001", "cc-00000001")
    time.sleep(2)
    with pytest.raises(Refused):
        signing.check_address(ENVELOPE, "nc-00000001", "cc-00000001")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8,
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """The good message, hurt: bytes changed, cut, doubled, or a field of the inner or outer form replaced."""
    way = draw(st.integers(0, 3))
    if way == 0:
        at = draw(st.integers(0, len(GOOD) - 1))
        return GOOD[:at] + draw(st.binary(max_size=4)) + GOOD[at + draw(st.integers(0, 6)):]
    if way == 1:
        return GOOD[: draw(st.integers(0, len(GOOD) - 1))]
    if way == 2:
        return json.dumps({**json.loads(GOOD), draw(st.sampled_from(["signed", "signature", "more"])): draw(_json)}).encode()
    inner = json.loads(json.loads(GOOD)["signed"])
    inner[draw(st.sampled_from([*inner, "more"]))] = draw(_json)
    return _outer(signed=json.dumps(inner))


def _harmless(message: bytes) -> None:
    """Nothing but Refused is ever raised, and what gets in says what was signed."""
    try:
        sealed = signing.read(message)
        opened = signing.proved(sealed, lookup(sealed.envelope.sender))
    except Refused:
        return
    assert opened == ENVELOPE


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(_mutated())
def test_a_hurt_message_does_no_harm(message: bytes) -> None:
    _harmless(message)


@settings(max_examples=40, deadline=None, database=None)
@given(st.integers(0, 2**64))
def test_ten_thousand_messages_with_wrong_bytes_do_no_harm(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(250):
        hurt = bytearray(GOOD)
        for _ in range(chance.randint(1, 4)):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        _harmless(bytes(hurt[: chance.randint(1, len(hurt))] if chance.random() < 0.2 else hurt))


# ---- tickets


def test_a_ticket_proves_its_claims_until_it_expires(time: ManualClock) -> None:
    ticket = signing.make_ticket(KEY, {"get": "ab", "to": "nc-1"}, 60)
    assert {k: v for k, v in signing.open_ticket(KEY.public_key(), ticket).items() if k != "exp"} == {"get": "ab", "to": "nc-1"}
    time.sleep(61)
    with pytest.raises(Refused) as e:
        signing.open_ticket(KEY.public_key(), ticket)
    assert e.value.code == "expired"


def test_a_lifetime_cannot_be_claimed(time: ManualClock) -> None:
    ticket = signing.make_ticket(KEY, {"exp": 9e9}, 1)
    time.sleep(2)
    with pytest.raises(Refused):
        signing.open_ticket(KEY.public_key(), ticket)


_TICKET = signing.make_ticket(KEY, {"get": "ab"}, 1e9)


@pytest.mark.parametrize("ticket", [
    "", ".", "..", "a.b", "a.b.c", "é.é", _TICKET[:-2], _TICKET + "A", _TICKET.replace(".", ".."), _TICKET.split(".")[0],
    f"{_TICKET.split('.')[0]}.{signing.make_ticket(KEY, {'get': 'cd'}).split('.')[1]}", signing.make_ticket(STRANGER, {"get": "ab"}), "x" * 100_000,
], ids=[f"way {n}" for n in range(13)])
def test_a_bad_ticket_is_forged(ticket: str) -> None:
    with pytest.raises(Refused) as e:
        signing.open_ticket(KEY.public_key(), ticket)
    assert e.value.code == "forged"


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(max_size=80))
def test_any_text_as_a_ticket_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        signing.open_ticket(KEY.public_key(), text)
