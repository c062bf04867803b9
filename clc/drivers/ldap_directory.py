"""LDAP: people of OpenLDAP, Active Directory and their like, asked through python-ldap, the one module that knows it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from clc.drivers.base import DN, NAME, LdapSettings, Person, down, is_called, is_typable
from luhyaapi import clock, log
from luhyaapi.errors import Failed, Refused, Unavailable

T = TypeVar("T")
Entry = tuple[str, dict[str, list[bytes]]]
_log = log.get(__name__)
_HEX = "hex:"
_AT_ONCE = 50
_PAGE = 500
_NOBODY = "cn=nobody-of-this-name"
_MATCHED_AT_MOST = 2
_ID_AT_MOST = 255


def make(settings: LdapSettings, secret: str, further: Sequence[str]) -> LdapDirectory:
    """The directory of these settings. Raises Failed(missing) where python-ldap is not installed."""
    return LdapDirectory(settings, secret, further)


class LdapDirectory:
    """Each question is a conversation of its own, which ends with it."""

    def __init__(self, settings: LdapSettings, secret: str, further: Sequence[str]) -> None:
        try:
            import ldap
            import ldap.dn
            import ldap.filter
            from ldap.controls import SimplePagedResultsControl
        except ImportError as e:
            raise Failed("missing", "LDAP cannot be spoken here", "python-ldap is not installed",
                         hint="Install the cloud as root, or sign in through an OpenID provider.") from e
        self._ldap, self._paged = ldap, SimplePagedResultsControl
        self._settings, self._secret = settings, secret
        # by name, for entries hold pictures too
        self._attributes = list(dict.fromkeys((settings.id_attribute, settings.display_attribute, settings.mail_attribute, settings.groups_attribute,
                                               *settings.typed, *further)))
        self._ends_at = 0.0

    # what may be asked

    def signed_in(self, name: str, password: str) -> Person | None:
        """Find who is called so and bind as them."""
        if not password or not is_typable(name):
            return None
        with self._conversation() as line:
            self._bind(line)
            entry = self._one(line, name)
            # a name nobody has costs a bind too: how long the answer takes shall not tell which names there are
            if not self._is_password(line, entry[0] if entry else f"{_NOBODY},{self._settings.base}", password) or entry is None:
                return None
            if self._settings.group_filter:
                self._bind(line)
            return self._person(line, entry)

    def named(self, name: str) -> Person | None:
        """Who is called so."""
        if not is_typable(name):
            return None
        with self._conversation() as line:
            self._bind(line)
            entry = self._one(line, name)
            return self._person(line, entry) if entry else None

    def known(self, subjects: Iterable[str]) -> dict[str, Person]:
        """Those of these people who are there."""
        every, found = list(subjects), {}
        for at in range(0, len(every), _AT_ONCE):
            wanted = "".join(f"({self._settings.id_attribute}={_escaped_id(each)})" for each in every[at : at + _AT_ONCE])
            with self._conversation() as line:
                self._bind(line)
                for entry in self._search(line, f"(&{self._everyone()}(|{wanted}))", _AT_ONCE):
                    person = self._person(line, entry)
                    found[person.subject] = person
        return found

    def everybody(self, at_most: int) -> list[Person]:
        """All people the filter knows."""
        with self._conversation() as line:
            self._bind(line)
            entries, cookie = [], b""
            while True:
                control = self._paged(True, size=_PAGE, cookie=cookie)
                page, cookie = self._page(line, control)
                entries += page
                if len(entries) > at_most:
                    raise Refused("invalid", "The directory has too many people", f"more than {at_most}", hint="Narrow its search base or its filter.")
                if not cookie:
                    return [self._in_turn(line, each) for each in entries]

    def _in_turn(self, line: Any, entry: Entry) -> Person:
        self._ends_at = clock.monotonic() + 2 * self._settings.timeout_s
        return self._person(line, entry)

    def steps(self) -> Iterator[str]:
        """Reach it, be sure it is it, bind, and search."""
        settings = self._settings
        self._ends_at = clock.monotonic() + 2 * settings.timeout_s
        yield f"{self._reached()} can be reached"
        with self._conversation(secured=False) as line:
            if settings.plain:
                # nothing is sent before the first question: an anonymous look at what the server is
                self._said(lambda: line.search_ext_s("", self._ldap.SCOPE_BASE, "(objectClass=*)", ["supportedLDAPVersion"], timeout=settings.timeout_s))
                yield f"{settings.uri} answers, without TLS"
            else:
                self._secure(line)
                if settings.uri.startswith("ldaps:"):
                    self._said(lambda: line.search_ext_s("", self._ldap.SCOPE_BASE, "(objectClass=*)", ["1.1"], timeout=settings.timeout_s), lenient=True)
                yield f"{settings.uri} answers, with a certificate that is trusted"
            self._bind(line)
            yield f"it lets {settings.bind_dn} in" if settings.bind_dn else "it lets anybody search"
            self._said(lambda: line.search_ext_s(settings.base, self._ldap.SCOPE_BASE, "(objectClass=*)", ["1.1"], timeout=settings.timeout_s))
            yield f"the search base {settings.base} is there"
            some = self._search(line, self._everyone(), _PAGE, lenient=True)
            if not some:
                raise down("nobody fits its filter", "Look at the search base and the filter.")
            first = next((each for each in some if self._is_whole(each)), None)
            if first is None:
                had = ", ".join(sorted(some[0][1])) or "none"
                raise down(f"{some[0][0]} has no {settings.id_attribute} or no {settings.name_attribute} that we may read; of those asked for it has {had}",
                           "Choose other attributes, or let us read these.")
            yield f"{len(some)} people or more" if len(some) >= _PAGE else f"{len(some)} people"

    def _reached(self) -> str:
        """Host and port, if anybody is there; with ``ldaps://`` if it is whom the certificate says, in words the library has not."""
        at, is_tls = urlsplit(self._settings.uri), self._settings.uri.startswith("ldaps:")
        host, port = at.hostname or "", at.port or (636 if is_tls else 389)
        hint = "Check address and port, and what lies between."
        try:
            with socket.create_connection((host, port), self._settings.timeout_s) as line:
                if is_tls:
                    hint = "Give the authority that signed its certificate, and the host as the certificate names it."
                    ssl.create_default_context(cadata=self._settings.ca or None).wrap_socket(line, server_hostname=host).close()
        except OSError as e:
            raise down(f"{host} port {port}: {str(e)[:200]}", hint) from e
        return f"{host} port {port}"

    # how it is asked

    @contextlib.contextmanager
    def _conversation(self, *, secured: bool = True) -> Iterator[Any]:
        ldap, settings = self._ldap, self._settings
        self._ends_at = clock.monotonic() + 2 * settings.timeout_s
        with self._authority() as ca:
            line: Any = self._said(lambda: ldap.initialize(settings.uri))
            try:
                for option, value in (
                    (ldap.OPT_PROTOCOL_VERSION, ldap.VERSION3), (ldap.OPT_REFERRALS, ldap.OPT_OFF), (ldap.OPT_DEREF, ldap.DEREF_NEVER),
                    # without it the library waits for ever in a handshake that the server does not go on with
                    (ldap.OPT_CONNECT_ASYNC, 1),
                    (ldap.OPT_NETWORK_TIMEOUT, settings.timeout_s), (ldap.OPT_TIMEOUT, settings.timeout_s),
                    (ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND), (ldap.OPT_X_TLS_CACERTFILE, ca),
                    (ldap.OPT_X_TLS_PROTOCOL_MIN, ldap.OPT_X_TLS_PROTOCOL_TLS1_2), (ldap.OPT_X_TLS_NEWCTX, 0),
                ):
                    line.set_option(option, value)
                if secured:
                    self._secure(line)
                yield line
            except ldap.LDAPError as e:
                raise self._trouble(e) from e
            finally:
                with contextlib.suppress(ldap.LDAPError):
                    line.unbind_ext_s()

    def _secure(self, line: Any) -> None:
        if self._settings.uri.startswith("ldap:") and not self._settings.plain:
            self._said(line.start_tls_s)

    @contextlib.contextmanager
    def _authority(self) -> Iterator[str]:
        """A file with the certificates that are trusted; the library reads no text."""
        if not self._settings.ca:
            yield ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
            return
        handle = os.memfd_create("ca")
        try:
            os.write(handle, self._settings.ca.encode())
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)

    def _said(self, ask: Callable[[], T], *, lenient: bool = False) -> T | None:
        """One question, if there is time for it. ``lenient``: that it is refused is an answer too."""
        ldap = self._ldap
        self._in_time()
        try:
            return ask()
        except ldap.LDAPError as e:
            if lenient and not isinstance(e, ldap.SERVER_DOWN | ldap.CONNECT_ERROR | ldap.TIMEOUT):
                return None
            raise self._trouble(e) from e

    def _in_time(self) -> None:
        if clock.monotonic() > self._ends_at:
            raise down(f"it takes longer than {2 * self._settings.timeout_s:g} s")

    def _trouble(self, error: Exception) -> Unavailable:
        ldap = self._ldap
        told = error.args[0] if error.args and isinstance(error.args[0], Mapping) else {}
        text = ": ".join(str(told[part]) for part in ("desc", "info") if told.get(part))[:300] or type(error).__name__
        hints = (
            (ldap.TIMEOUT, "it takes too long", "Look at the server, and at what lies between."),
            (ldap.SERVER_DOWN, text, "Check address and port, and that its certificate is signed by the authority given and names the host of the address."),
            (ldap.CONNECT_ERROR, text, "Check that it speaks TLS, that its certificate is signed by the authority given and names the host of the address."),
            (ldap.PROTOCOL_ERROR, text, "It may know no StartTLS: give ldaps:// instead."),
            (ldap.INVALID_CREDENTIALS, f"it does not know {self._settings.bind_dn or 'us'} with that password", "Correct the bind DN or its password."),
            (ldap.NO_SUCH_OBJECT, f"there is no {self._settings.base}, or we may not see it", "Correct the search base, or let the bind DN read it."),
            (ldap.INSUFFICIENT_ACCESS, text, "Let the bind DN read it."),
            (ldap.SIZELIMIT_EXCEEDED, "it shows us fewer people than there are", "Raise its limit for the bind DN (OpenLDAP: limits, size.prtotal=unlimited)."),
            (ldap.FILTER_ERROR, text, "Correct the filter."),
        )
        why, hint = next(((why, hint) for kind, why, hint in hints if isinstance(error, kind)), (text, ""))
        return down(why, hint)

    def _bind(self, line: Any) -> None:
        """As the account that may search; without one, as nobody."""
        dn = self._settings.bind_dn
        self._said(lambda: line.simple_bind_s(dn, self._secret if dn else ""))

    def _is_password(self, line: Any, dn: str, password: str) -> bool:
        ldap = self._ldap
        self._in_time()
        refusals = (ldap.INVALID_CREDENTIALS, ldap.UNWILLING_TO_PERFORM, ldap.INAPPROPRIATE_AUTH, ldap.NO_SUCH_OBJECT, ldap.CONSTRAINT_VIOLATION,
                    ldap.INSUFFICIENT_ACCESS, ldap.INVALID_DN_SYNTAX)
        try:
            line.simple_bind_s(dn, password)
        except refusals:
            return False
        return True

    def _everyone(self) -> str:
        return self._settings.filter.replace(NAME, "*")

    def _one(self, line: Any, name: str) -> Entry | None:
        """The one entry of that name, sign for sign."""
        asked = self._settings.filter.replace(NAME, self._ldap.filter.escape_filter_chars(name))
        found = [each for each in self._search(line, asked, _MATCHED_AT_MOST, lenient=True)
                 if is_called([v for a in self._settings.typed for v in _texts(each[1], a)], name) and self._is_whole(each)]
        if len(found) > 1:
            _log.warning("a name of a directory is of several people", uri=self._settings.uri)
        return found[0] if len(found) == 1 else None

    def _search(self, line: Any, asked: str, at_most: int, *, lenient: bool = False) -> list[Entry]:
        """Entries below the base, never what a server only refers to. ``lenient``: more of them than that is no error."""
        ldap, settings = self._ldap, self._settings
        found: list[Entry] = []

        def ask() -> None:
            ident = line.search_ext(settings.base, ldap.SCOPE_SUBTREE, asked, self._attributes, timeout=settings.timeout_s, sizelimit=at_most)
            while True:
                kind, entries = line.result(ident, all=0, timeout=settings.timeout_s)
                found.extend((dn, values) for dn, values in entries if dn is not None)
                if kind == ldap.RES_SEARCH_RESULT:
                    return
                self._in_time()

        self._in_time()
        try:
            ask()
        except ldap.SIZELIMIT_EXCEEDED:
            if not lenient:
                raise
        except ldap.LDAPError as e:
            raise self._trouble(e) from e
        return found

    def _page(self, line: Any, control: Any) -> tuple[list[Entry], bytes]:
        ldap, settings = self._ldap, self._settings

        def ask() -> tuple[list[Entry], bytes]:
            ident = line.search_ext(settings.base, ldap.SCOPE_SUBTREE, self._everyone(), self._attributes, serverctrls=[control], timeout=settings.timeout_s)
            _kind, entries, _ident, controls = line.result3(ident, timeout=settings.timeout_s)
            cookie = next((each.cookie for each in controls if each.controlType == control.controlType), b"")
            return [(dn, values) for dn, values in entries if dn is not None and self._is_whole((dn, values))], cookie

        # a directory of thousands may take as long for each page as for one person
        self._ends_at = clock.monotonic() + 2 * settings.timeout_s
        return self._said(ask) or ([], b"")

    # what an entry says

    def _is_whole(self, entry: Entry) -> bool:
        ident = _texts(entry[1], self._settings.id_attribute)
        return bool(ident and len(ident[0]) <= _ID_AT_MOST and _texts(entry[1], self._settings.name_attribute))

    def _person(self, line: Any, entry: Entry) -> Person:
        dn, raw = entry
        settings = self._settings
        values = {name.casefold(): _texts(raw, name) for name in raw}
        groups = settings.groups_attribute.casefold()
        if settings.group_filter:
            values[groups] = (*values.get(groups, ()), *self._groups_of(line, dn, _texts(raw, settings.name_attribute)[0]))

        def first(name: str) -> str:
            return next(iter(values.get(name.casefold(), ())), "")

        return Person(
            first(settings.id_attribute), first(settings.name_attribute), first(settings.display_attribute), first(settings.mail_attribute), values,
            self._units(dn), dn,
        )

    def _groups_of(self, line: Any, dn: str, name: str) -> list[str]:
        escape = self._ldap.filter.escape_filter_chars
        asked = self._settings.group_filter.replace(DN, escape(dn)).replace(NAME, escape(name))
        return [found for found, _ in self._search(line, asked, _PAGE, lenient=True)]

    def _units(self, dn: str) -> tuple[str, ...]:
        try:
            parts, base = (self._ldap.dn.str2dn(each) for each in (dn, self._settings.base))
        except self._ldap.LDAPError:
            return ()
        within = parts[: len(parts) - len(base)]
        return tuple(value for part in reversed(within) for name, value, _ in part if name.casefold() == "ou")


def _texts(raw: Mapping[str, list[bytes]], name: str) -> tuple[str, ...]:
    found = next((values for key, values in raw.items() if key.casefold() == name.casefold()), [])
    return tuple(map(_text, found))


def _text(value: bytes) -> str:
    """What is no text, such as an objectGUID, as digits: one value is one text."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _HEX + value.hex()
    return text if text.isprintable() and not text.startswith(_HEX) else _HEX + value.hex()


def _escaped_id(subject: str) -> str:
    value = bytes.fromhex(subject.removeprefix(_HEX)) if subject.startswith(_HEX) else subject.encode()
    return "".join(f"\\{each:02x}" for each in value)
