"""The metadata service of a node: which guest asks is known by bridge and address, and it is told about itself alone."""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

from luhyaapi import clock, ids, log
from luhyaapi.contracts.specs import MachineSpec, Nic
from luhyaapi.errors import Trouble
from nc.drivers.base import tap_name
from nc.drivers.metadata_base import Answer, Asker, MetadataDoor, Question, Told
from nc.services import metadata_tree

_log = log.get(__name__)
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - where one is given
_TTL, _TOKEN = "x-aws-ec2-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token"
TTL_AT_MOST_S = 21600
_NOTHING = Answer(HTTPStatus.NOT_FOUND, "Nothing is here.\n")


class Metadata:
    """``door`` makes the driver, which calls :meth:`answer`; ``bridge_of`` names the bridge of a card.

    A token is what EC2 calls IMDSv2: bound to the instance and to this process; without one is answered too.
    """

    def __init__(self, door: Callable[[Told], MetadataDoor], bridge_of: Callable[[Nic], str], zone: str) -> None:
        self._bridge_of, self._zone = bridge_of, zone
        self._key = ids.secret().encode()
        self._lock = threading.Lock()
        self._specs: dict[str, MachineSpec] = {}
        self._cards: Mapping[tuple[str, str], tuple[MachineSpec, Nic]] = {}
        self._trouble = ""
        self.is_whole = False
        """Whether it was told of all guests since this process started."""
        self._door = door(self.answer)

    def serve(self, specs: Iterable[MachineSpec]) -> None:
        """These are all guests of this node that may ask, from now on. What cannot be done now is logged, and done by the next call."""
        with self._lock:
            self._specs = {spec.instance: spec for spec in specs}
            self.is_whole = True
            self._serve()

    def put(self, spec: MachineSpec) -> None:
        """One more, or one that is otherwise; before it runs."""
        with self._lock:
            self._specs[spec.instance] = spec
            self._serve()

    def drop(self, instance: str) -> None:
        """One less; its addresses may be another's from now on."""
        with self._lock:
            if self._specs.pop(instance, None):
                self._serve()

    def close(self) -> None:
        """Nobody is answered any more."""
        self._door.close()

    def _serve(self) -> None:
        cards = {(self._bridge_of(nic), nic.ip): (spec, nic) for spec in self._specs.values() for nic in spec.nics}
        # Before the door knows them: who asks is answered from the new list or by nobody.
        self._cards = cards
        try:
            self._door.serve([Asker(bridge, tap_name(spec.instance, nic.mac), nic.mac, nic.ip) for (bridge, _ip), (spec, nic) in cards.items()])
            self._trouble = ""
        except Trouble as e:
            if self._trouble != str(e):
                self._trouble = str(e)
                _log.warning("metadata cannot be served", why=self._trouble)

    def answer(self, bridge: str, ip: str, question: Question) -> Answer:
        """What that guest is told."""
        found = self._cards.get((bridge, ip))
        if found is None:
            return _NOTHING
        if "x-forwarded-for" in question.headers:
            return Answer(HTTPStatus.FORBIDDEN, "What somebody else asks for is not answered.\n")
        spec, nic = found
        return self._token(spec.instance, question) if question.path == TOKEN_PATH else self._read(spec, nic, question)

    def _read(self, spec: MachineSpec, nic: Nic, question: Question) -> Answer:
        if question.method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        if _TOKEN in question.headers and not self._is_good(spec.instance, question.headers[_TOKEN]):
            return Answer(HTTPStatus.UNAUTHORIZED)
        text = metadata_tree.read(metadata_tree.tree(spec, nic, self._zone), question.path)
        if text is None:
            return _NOTHING
        kind = "application/json" if question.path.endswith(".json") else "text/plain; charset=utf-8"
        return Answer(HTTPStatus.OK, text, kind)

    def _token(self, instance: str, question: Question) -> Answer:
        if question.method != "PUT":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "PUT"})
        asked = question.headers.get(_TTL, "")
        if not (asked.isascii() and asked.isdigit() and len(asked) <= 5 and 1 <= int(asked) <= TTL_AT_MOST_S):
            return Answer(HTTPStatus.BAD_REQUEST, f"{_TTL} is a whole number, 1 to {TTL_AT_MOST_S}.\n")
        until = struct.pack(">Q", int(clock.now()) + int(asked))
        return Answer(HTTPStatus.OK, base64.urlsafe_b64encode(until + self._seal(instance, until)).decode(), headers={_TTL: asked})

    def _is_good(self, instance: str, token: str) -> bool:
        try:
            raw = base64.b64decode(token, b"-_", validate=True)
        except (binascii.Error, ValueError):
            return False
        until, seal = raw[:8], raw[8:]
        return hmac.compare_digest(seal, self._seal(instance, until)) and struct.unpack(">Q", until)[0] > clock.now()

    def _seal(self, instance: str, until: bytes) -> bytes:
        return hmac.digest(self._key, instance.encode() + b"\0" + until, "sha256")
