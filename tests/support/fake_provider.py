"""An OpenID provider in memory, registered as the way to ``https:`` issuers: a real one's answers, signed, and each of them can be wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from clc.drivers import oidc_provider
from clc.drivers.base import down
from clc.drivers.oidc_provider import Answer
from luhyaapi import clock

_KEYS = [RSAKey.generate_key(2048, {"kid": f"key-{n}", "use": "sig", "alg": "RS256"}) for n in range(3)]


@dataclass
class Bed:
    """One provider. ``spoil``: claims that are said otherwise; ``signs``: how a token is made of header and claims, for a forger."""

    issuer: str = "https://id.school.test"
    client_id: str = "educloud"
    secret: str = "client secret of a test"
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    spoil: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    forger: Any = None
    key: int = 0
    published: list[int] = field(default_factory=lambda: [0])
    fails: str = ""
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def settings(self, **more: object) -> dict[str, object]:
        return {"issuer": self.issuer, "client_id": self.client_id, "title": "School", **more}

    def person(self, name: str, **claims: Any) -> None:
        self.people[name] = {"sub": str(uuid.uuid4()), "preferred_username": name, "name": name.title(), "email": f"{name}@school.test", **claims}

    def stop(self) -> None:
        self.fails = "Connection refused"

    def start(self) -> None:
        self.fails = ""

    def sign_in(self, url: str, name: str) -> dict[str, str]:
        """What somebody's browser brings back after they signed in there."""
        at = urlsplit(url)
        assert f"{at.scheme}://{at.netloc}" == self.issuer
        query = {key: values[0] for key, values in parse_qs(at.query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["client_id"] == self.client_id
        code = uuid.uuid4().hex
        self.codes[code] = query | {"person": name}
        return {"code": code, "state": query["state"], "iss": self.issuer}

    # how it is reached

    def get(self, url: str, bearer: str = "") -> Answer:
        self._reached(url)
        return {
            "/.well-known/openid-configuration": self._document, "/keys": self._jwks, "/userinfo": lambda: self._userinfo(bearer),
        }[urlsplit(url).path]()

    def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> Answer:
        self._reached(url)
        if basic != (self.client_id, urlencode({"": self.secret})[1:]):
            return Answer(401, {"error": "invalid_client"})
        kept = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        if kept is None or kept["redirect_uri"] != form["redirect_uri"] or kept["code_challenge"] != challenge:
            return Answer(400, {"error": "invalid_grant"})
        return Answer(200, {"access_token": kept["person"], "token_type": "Bearer", "id_token": self._token(kept)})

    def _reached(self, url: str) -> None:
        self.asked.append(url)
        if self.fails:
            raise down(self.fails)

    def _document(self) -> Answer:
        said = {"issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize?tenant=1", "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys", "userinfo_endpoint": f"{self.issuer}/userinfo", "end_session_endpoint": f"{self.issuer}/out",
                "authorization_response_iss_parameter_supported": True}
        return Answer(200, said | self.document)

    def _jwks(self) -> Answer:
        odd = [{"kty": "oct", "k": "c2VjcmV0", "kid": "odd"}, {"kty": "new"}]
        return Answer(200, {"keys": [*odd, *(_KEYS[n].as_dict(private=False) for n in self.published)]})

    def _userinfo(self, name: str) -> Answer:
        return Answer(200, self.people[name] | {"groups": ["from userinfo"]})

    def _token(self, kept: Mapping[str, Any]) -> str:
        now = int(clock.now())
        claims = self.people[kept["person"]] | {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300, "nonce": kept["nonce"],
                                                "auth_time": now if kept.get("prompt") == "login" else now - 9999} | self.spoil
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.forger:
            return str(self.forger(claims))
        return jwt.encode({"alg": "RS256", "kid": f"key-{self.key}"}, claims, _KEYS[self.key])


def unsigned(claims: Mapping[str, Any]) -> str:
    """A token of nobody's."""
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)) + "."


def with_public_key(claims: Mapping[str, Any]) -> str:
    """A token whose shared secret is the provider's public key, which everybody knows."""
    header = {"alg": "HS256", "kid": "key-0"}
    signed = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    mac = hmac.new(_KEYS[0].as_pem(private=False), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def by_another_key(claims: Mapping[str, Any]) -> str:
    """A token signed by a key of the forger's, called as the provider's is."""
    return jwt.encode({"alg": "RS256", "kid": "key-0"}, dict(claims), _KEYS[2])


def key_in_the_header(claims: Mapping[str, Any]) -> str:
    """A token that brings its own key along."""
    return jwt.encode({"alg": "RS256", "jwk": _KEYS[2].as_dict(private=False)}, dict(claims), _KEYS[2])


def registered(monkeypatch: Any, *beds: Bed) -> None:
    """Have these be the providers there are, for the length of a test."""
    known = {bed.issuer: bed for bed in beds}
    monkeypatch.setitem(oidc_provider.WEBS, "https", lambda settings: known[settings.issuer])
    oidc_provider.remembered.forget()
