"""An OpenLDAP server of its own: a folder, a free port of loopback, TLS by an authority made for it, memberOf kept by its overlay."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ldap
import ldap.modlist
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ldap.filter import escape_filter_chars

from clc.drivers import DIRECTORIES
from clc.drivers.base import LdapSettings, PeopleDirectory
from tests.support import scratch

BASE = "dc=school,dc=test"
ROOT, ROOT_SECRET = f"cn=root,{BASE}", "slapd root"
_READY_S = 15.0
_SAID = re.compile(r"conn=(?P<line>\d+) (?:fd|op)=(?P<step>\d+) (?:SEARCH )?(?P<what>ACCEPT|closed|BIND|SRCH|RESULT tag=\d+ err=\d+)")
_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.2 NAME 'objectGUID' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.782 NAME 'objectCategory' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9 NAME 'user' SUP top AUXILIARY MAY ( sAMAccountName $ objectGUID $ userAccountControl $ objectCategory ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload refint
pidfile {home}/pid
argsfile {home}/args
TLSCACertificateFile {home}/ca.pem
TLSCertificateFile {home}/server.pem
TLSCertificateKeyFile {home}/server.key
# as careless as a server can be: an empty password is taken for nobody's, and lets in
allow bind_anon_dn
database mdb
maxsize 33554432
directory {home}/data
suffix "{base}"
rootdn "{root}"
rootpw "{root_secret}"
dbnosync
limits dn.exact="cn=reader,{base}" size.prtotal=unlimited
index objectClass,uid,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,{base}" read by anonymous auth by * none
overlay memberof
memberof-refint TRUE
overlay refint
refint_attributes member
"""


def _certificates(home: Path) -> None:
    """An authority, and the server's certificate for its address signed by it."""
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = dt.datetime.now(dt.UTC)
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    for file, subject, public, names in (("ca", "school authority", root, None), ("server", "directory", key, ["127.0.0.1"])):
        made = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("school authority")).public_key(public.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=2))
                .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True))
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(each)) for each in names]), critical=False)
        (home / f"{file}.pem").write_bytes(made.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (home / "server.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(two.getsockname()[1])


@dataclass
class Bed:
    """One server; the same verbs as the directory in memory has."""

    home: Path
    port: int
    tls_port: int
    bind_secret: str = "let me search"
    process: subprocess.Popen[bytes] | None = None
    units: set[str] = field(default_factory=set)

    @property
    def secret(self) -> str:
        return self.bind_secret

    @property
    def ca(self) -> str:
        return (self.home / "ca.pem").read_text()

    @property
    def uri(self) -> str:
        return f"ldaps://127.0.0.1:{self.tls_port}"

    @property
    def open_uri(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def settings(self, **more: object) -> dict[str, object]:
        return {"uri": self.uri, "ca": self.ca, "base": BASE, "bind_dn": f"cn=reader,{BASE}",
                "filter": "(&(objectClass=inetOrgPerson)(|(uid={name})(mail={name})))", "timeout_s": 3, **more}

    def driver(self, **more: object) -> PeopleDirectory:
        secret, further = str(more.pop("secret", self.bind_secret)), more.pop("further", ())
        settings = LdapSettings.model_validate(self.settings(**more))
        return DIRECTORIES[settings.uri.partition("://")[0]](settings, secret, further)

    @contextlib.contextmanager
    def line(self) -> Iterator[ldap.ldapobject.LDAPObject]:
        """As the server's own root, over its socket."""
        one = ldap.initialize(f"ldapi://{str(self.home / 'sock').replace('/', '%2F')}")
        one.simple_bind_s(ROOT, ROOT_SECRET)
        try:
            yield one
        finally:
            one.unbind_s()

    def add(self, dn: str, **values: object) -> None:
        with self.line() as line:
            line.add_s(dn, [(name, [v if isinstance(v, bytes) else str(v).encode() for v in (value if isinstance(value, list | tuple) else [value])])
                            for name, value in values.items()])

    def _unit(self, names: tuple[str, ...]) -> str:
        dn = BASE
        for name in names:
            dn = f"ou={name},{dn}"
            if dn not in self.units:
                self.add(dn, objectClass="organizationalUnit", ou=name)
                self.units.add(dn)
        return dn

    def person(self, name: str, password: str, *, units: tuple[str, ...] = (), display: str = "", mail: str = "", **more: object) -> str:
        rdn = ldap.dn.escape_dn_chars(name)
        dn = f"uid={rdn},{self._unit(units)}"
        extra = {"mail": mail} if mail else {}
        classes = ["inetOrgPerson", *(["user"] if more else [])]
        self.add(dn, objectClass=classes, uid=name, cn=display or name, sn=name, userPassword=password, **extra, **more)
        return dn

    def _dn(self, name: str) -> str:
        with self.line() as line:
            return str(line.search_s(BASE, ldap.SCOPE_SUBTREE, f"(uid={escape_filter_chars(name)})", ["1.1"])[0][0])

    def rename(self, name: str, new: str) -> None:
        with self.line() as line:
            line.rename_s(self._dn(name), f"uid={new}", delold=1)

    def remove(self, name: str) -> None:
        with self.line() as line:
            line.delete_s(self._dn(name))

    def group(self, name: str, *members: str) -> str:
        dn = f"cn={name},{self._unit(('groups',))}"
        self.add(dn, objectClass="groupOfNames", cn=name, member=[self._dn(each) for each in members])
        return dn

    @property
    def said(self) -> Path:
        """What it was asked and answered, a line each."""
        return self.home / "said"

    def asked_by(self, act: Callable[[], None]) -> list[str]:
        """What is asked and answered on the lines that are opened meanwhile, sorted: it is written a little later, by many threads."""
        before = len(self.said.read_text())
        act()
        until = time.monotonic() + _READY_S
        while True:
            said = [(found["line"], found["step"], found["what"]) for found in _SAID.finditer(self.said.read_text()[before:])]
            opened = {line for line, _, what in said if what == "ACCEPT"}
            own = [each for each in said if each[0] in opened]
            asked = {each[:2] for each in own if each[2] in ("BIND", "SRCH")}
            answered = {each[:2] for each in own if each[2].startswith("RESULT")}
            if asked and asked == answered and opened == {line for line, _, what in own if what == "closed"}:
                return sorted(what for *_, what in own)
            assert time.monotonic() < until, said
            time.sleep(0.02)

    def clear(self) -> None:
        """Nobody is left but the reader."""
        with self.line() as line:
            every = [dn for dn, _ in line.search_s(BASE, ldap.SCOPE_SUBTREE, "(objectClass=*)", ["1.1"]) if dn not in (BASE, f"cn=reader,{BASE}")]
            for dn in sorted(every, key=lambda each: len(ldap.dn.explode_dn(each)), reverse=True):
                with contextlib.suppress(ldap.NO_SUCH_OBJECT):
                    line.delete_s(dn)
        self.units.clear()

    def start(self) -> None:
        sock = str(self.home / "sock").replace("/", "%2F")
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                ["/usr/sbin/slapd", "-d", "stats", "-f", self.home / "slapd.conf", "-h",
                 f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/ ldapi://{sock}/"],
                stdout=subprocess.DEVNULL, stderr=said,
            )
        until = time.monotonic() + _READY_S
        while True:
            try:
                with self.line():
                    return
            except ldap.LDAPError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(20)


def guid(text: str) -> bytes:
    """The sixteen bytes that Active Directory keeps of an id."""
    return uuid.UUID(text).bytes_le


@contextlib.contextmanager
def server() -> Iterator[Bed]:
    """A server with nobody but its reader; gone at the end, its files too."""
    home = scratch.folder("slapd")
    (home / "data").mkdir()
    _certificates(home)
    (home / "slapd.conf").write_text(_CONFIG.format(home=home, base=BASE, root=ROOT, root_secret=ROOT_SECRET))
    bed = Bed(home, *_free_ports())
    bed.start()
    try:
        bed.add(BASE, objectClass=["dcObject", "organization"], dc="school", o="school")
        bed.add(f"cn=reader,{BASE}", objectClass=["organizationalRole", "simpleSecurityObject"], cn="reader", userPassword=bed.bind_secret)
        yield bed
    finally:
        bed.stop()
        shutil.rmtree(home)
