"""OpenID Connect: the authorization code flow with PKCE, and ID tokens that are believed only when everything about them fits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from clc.drivers.base import OidcSettings, Person, down
from luhyaapi import clock, ids
from luhyaapi.errors import Refused

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""Those with a public key: nothing that we know could have made the token."""
_LEEWAY_S = 60.0
_KEPT_S = 600.0
_REREAD_S = 5.0
_ANSWER_AT_MOST = 1024 * 1024
_KEYS_AT_MOST = 100
_REMEMBERED = 100
_NOT_BELIEVED = "The provider's answer is not believed"
Key = RSAKey | ECKey | OKPKey
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    body: Any


class Web(Protocol):
    """How a provider is reached. Raises Unavailable(directory_down)."""

    def get(self, url: str, bearer: str = "") -> Answer: ...
    def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> Answer: ...


class Https:
    """The real one: certificates are checked, redirects are not followed, answers are small and come in time."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings

    def get(self, url: str, bearer: str = "") -> Answer:
        """A JSON document."""
        return self._ask("GET", url, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})

    def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> Answer:
        """The JSON answer to a form."""
        return self._ask("POST", url, data=dict(form), auth=basic)

    def _ask(self, method: str, url: str, **more: Any) -> Answer:
        settings = self._settings
        trust = ssl.create_default_context(cadata=settings.ca or None)
        ends_at = clock.monotonic() + 2 * settings.timeout_s
        try:
            with (
                httpx.Client(verify=trust, timeout=settings.timeout_s, trust_env=not settings.plain, follow_redirects=False) as line,
                line.stream(method, url, **more) as answer,
            ):
                body = b""
                for piece in answer.iter_bytes(64 * 1024):
                    body += piece
                    if len(body) > _ANSWER_AT_MOST or clock.monotonic() > ends_at:
                        raise down("its answer is too long or takes too long")
                return Answer(answer.status_code, _json(body))
        except (httpx.HTTPError, OSError) as e:
            raise down(str(e)[:200] or type(e).__name__, "Check the issuer, the way to it, and the authority that signed its certificate.") from e


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


WEBS: dict[str, Callable[[OidcSettings], Web]] = {"https": Https, "http": Https}
"""How providers are reached, by the scheme of their issuer."""


class Remembered:
    """What providers say of themselves, read every ten minutes; keys also when one is asked for that is not there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, Any]] = {}

    def read(self, web: Web, url: str, *, no_older_s: float = _KEPT_S) -> Any:
        """The document at an address, no older than that."""
        with self._lock:
            at, body = self._said.get(url, (0.0, None))
        if body is not None and clock.monotonic() - at < no_older_s:
            return body
        answer = web.get(url)
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise down(f"{url} answers {answer.status} and no document")
        with self._lock:
            if len(self._said) > _REMEMBERED:
                self._said.clear()
            self._said[url] = clock.monotonic(), answer.body
        return answer.body

    def forget(self) -> None:
        """Read all anew."""
        with self._lock:
            self._said.clear()


remembered = Remembered()


@dataclass(frozen=True)
class Asked:
    """A sign-in that has begun: what the browser's session keeps until it comes back. ``since``: when; ``again``: they shall prove it anew."""

    state: str
    nonce: str
    verifier: str
    since: float
    again: bool = False


class Provider:
    """One provider."""

    def __init__(self, settings: OidcSettings, secret: str) -> None:
        self._settings, self._secret = settings, secret
        self._web = WEBS[urlsplit(settings.issuer).scheme](settings)

    def begin(self, redirect_uri: str, *, again: bool = False) -> tuple[str, Asked]:
        """Where to send the browser, and what to keep of that."""
        asked = Asked(ids.secret(), ids.secret(), ids.secret() + ids.secret(), clock.now(), again)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(asked.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code", "client_id": self._settings.client_id, "redirect_uri": redirect_uri, "scope": self._settings.scopes, "state": asked.state,
            "nonce": asked.nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        } | ({"prompt": "login", "max_age": "0"} if again else {})
        return _with(self._endpoint("authorization_endpoint"), query), asked

    def finish(self, asked: Asked, answer: Mapping[str, str], redirect_uri: str) -> Person:
        """Who came back. Raises Refused(unauthenticated) for an answer that is not the one to what was asked, Unavailable(directory_down)."""
        told_by = answer.get("iss", "")
        if (told_by and told_by != self._settings.issuer) or (not told_by and self._document().get("authorization_response_iss_parameter_supported")):
            raise _doubtful("it is of another provider")
        if error := answer.get("error"):
            raise Refused("unauthenticated", "The provider did not let you in", f"it says {error[:100]!r}", hint="Try again, or ask who runs it.")
        if not answer.get("code"):
            raise _doubtful("it has no code")
        tokens = self._redeem(asked, answer["code"], redirect_uri)
        claims = self._claims(tokens.get("id_token"))
        self._check(claims, asked)
        return self._person(claims | self._more(claims, tokens.get("access_token")))

    def farewell(self, back: str) -> str:
        """Where one signs out at the provider too; empty where one cannot."""
        document = self._document()
        url = document.get("end_session_endpoint")
        if not isinstance(url, str) or not self._is_fit(url):
            return ""
        return _with(url, {"client_id": self._settings.client_id, "post_logout_redirect_uri": back})

    def steps(self) -> Iterator[str]:
        """Reach it, believe it, and have its keys."""
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._endpoint(name)
        yield f"{self._settings.issuer} answers, and says where one signs in"
        keys = self._keys(no_older_s=0)
        if not keys:
            raise down("it has no key that tokens can be checked by")
        yield f"its tokens can be checked: {len(keys)} keys"

    # what it says of itself

    def _document(self) -> Document:
        issuer = self._settings.issuer
        found: Document = remembered.read(self._web, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise down(f"it calls itself {str(found.get('issuer'))[:200]!r}, not {issuer!r}", "Give the issuer exactly as the provider says it.")
        return found

    def _endpoint(self, name: str) -> str:
        url = self._document().get(name)
        if not isinstance(url, str) or not self._is_fit(url):
            raise down(f"its {name} is missing or has no TLS")
        return url

    def _is_fit(self, url: str) -> bool:
        at = urlsplit(url)
        return bool(at.hostname) and (at.scheme == "https" or (self._settings.plain and at.hostname == urlsplit(self._settings.issuer).hostname))

    def _keys(self, *, no_older_s: float = _KEPT_S) -> list[Key]:
        listed = remembered.read(self._web, self._endpoint("jwks_uri"), no_older_s=no_older_s).get("keys")
        found: list[Key] = []
        for each in listed[:_KEYS_AT_MOST] if isinstance(listed, list) else ():
            if not isinstance(each, dict) or each.get("kty") not in ("RSA", "EC", "OKP") or each.get("use", "sig") != "sig":
                continue
            try:
                key = import_key(each)
            except (JoseError, ValueError, TypeError, KeyError):
                continue
            if isinstance(key, RSAKey | ECKey | OKPKey):
                found.append(key)
        return found

    # a token and what it says

    def _redeem(self, asked: Asked, code: str, redirect_uri: str) -> Mapping[str, Any]:
        form = {"grant_type": "authorization_code", "code": code[:2000], "redirect_uri": redirect_uri, "code_verifier": asked.verifier}
        ways = self._document().get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        basic = None
        if self._secret and "client_secret_basic" in ways:
            basic = (_quoted(self._settings.client_id), _quoted(self._secret))
        else:
            form["client_id"] = self._settings.client_id
            form |= {"client_secret": self._secret} if self._secret else {}
        answer = self._web.post(self._endpoint("token_endpoint"), form, basic)
        error = answer.body.get("error") if isinstance(answer.body, dict) else None
        if error in ("invalid_client", "unauthorized_client"):
            raise down(f"it does not know the client {self._settings.client_id} with that secret", "Correct the client id or its secret.")
        if answer.status >= 500 or not isinstance(answer.body, dict):
            raise down(f"its token endpoint answers {answer.status}")
        if answer.status != 200:
            raise _doubtful(f"it takes the code for no good one: {str(error)[:100]}")
        return answer.body

    def _claims(self, token: Any) -> dict[str, Any]:
        """What a token says, if its signature is by a key of the provider."""
        if not isinstance(token, str) or token.count(".") != 2 or len(token) > 64 * 1024:
            raise _doubtful("it has no ID token")
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError) as e:
            raise _doubtful("its ID token cannot be read") from e
        if header.get("alg") not in ALGORITHMS:
            raise _doubtful(f"its ID token is signed by {str(header.get('alg'))[:20]!r}")
        for no_older_s in (_KEPT_S, _REREAD_S):
            found = self._verified(token, header, no_older_s)
            if found is not None:
                return found
        raise _doubtful("its ID token is signed by no key of the provider")

    def _verified(self, token: str, header: Mapping[str, Any], no_older_s: float) -> dict[str, Any] | None:
        kid = header.get("kid")
        for key in self._keys(no_older_s=no_older_s):
            if kid and key.kid and key.kid != kid:
                continue
            try:
                payload = json.loads(jws.deserialize_compact(token, key, algorithms=[str(header["alg"])]).payload)
            except (JoseError, ValueError, TypeError):
                continue
            return payload if isinstance(payload, dict) else None
        return None

    def _check(self, claims: Mapping[str, Any], asked: Asked) -> None:
        now, client = clock.now(), self._settings.client_id
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        ends, made = _moment(claims.get("exp")), _moment(claims.get("iat"))
        wrong = {
            "it is of another issuer": claims.get("iss") != self._settings.issuer,
            "it is for somebody else": client not in audiences or ((len(audiences) > 1 or "azp" in claims) and claims.get("azp") != client),
            "it has expired": ends <= now - _LEEWAY_S,
            "it is from the future": not 0 < made <= now + _LEEWAY_S,
            "it is the answer to something else": not hmac.compare_digest(str(claims.get("nonce")).encode(), asked.nonce.encode()),
            "it says nobody": not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255,
        }
        if asked.again:
            wrong["it does not say that you signed in just now"] = _moment(claims.get("auth_time")) < asked.since - _LEEWAY_S
        for why, is_so in wrong.items():
            if is_so:
                raise _doubtful(why)

    def _more(self, claims: Mapping[str, Any], access: Any) -> dict[str, Any]:
        """Where the token does not tell the name: what the provider tells of the same person when asked."""
        url = self._document().get("userinfo_endpoint")
        if self._settings.name_claim in claims or not isinstance(access, str) or not isinstance(url, str) or not self._is_fit(url):
            return {}
        answer = self._web.get(url, bearer=access)
        if answer.status != 200 or not isinstance(answer.body, dict) or answer.body.get("sub") != claims["sub"]:
            raise _doubtful("what it tells of you is of somebody else")
        return {name: value for name, value in answer.body.items() if name not in claims}

    def _person(self, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        values = {name.casefold(): texts for name, value in _flat(claims) if (texts := _texts(value))}

        def first(name: str) -> str:
            return next(iter(values.get(name.casefold(), ())), "")

        if not first(settings.name_claim):
            raise Refused("forbidden", "You cannot sign in here", f"the provider does not tell what you are called: it has no {settings.name_claim}",
                          hint="An administrator chooses another claim, or asks for its scope.")
        mail = first(settings.mail_claim) if claims.get("email_verified", True) is True else ""
        return Person(str(claims["sub"]), first(settings.name_claim), first(settings.display_claim), mail, values, (), settings.issuer)


def _flat(claims: Mapping[str, Any], within: str = "", depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Claims within claims by the names of both, as in ``realm_access.roles``."""
    for name, value in claims.items():
        if isinstance(value, dict) and depth:
            yield from _flat(value, f"{within}{name}.", depth - 1)
        else:
            yield f"{within}{name}", value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(text for each in value[:1000] for text in _texts(each))
    if isinstance(value, bool):
        return (str(value).lower(),)
    return (str(value)[:500],) if isinstance(value, str | int) else ()


def _moment(value: Any) -> float:
    """A time in a token; 0 for none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12 else 0.0


def _doubtful(why: str) -> Refused:
    return Refused("unauthenticated", _NOT_BELIEVED, why, hint="Sign in again from the beginning.")


def _quoted(text: str) -> str:
    """As RFC 6749 has it before HTTP's own way (section 2.3.1)."""
    return urlencode({"": text})[1:]


def _with(url: str, query: Mapping[str, str]) -> str:
    at = urlsplit(url)
    return urlunsplit(at._replace(query=urlencode([*parse_qsl(at.query), *query.items()]), fragment=""))
