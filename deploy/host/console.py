"""At which address a client finds the console, and whom it has to believe there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from deploy.host import ground
from deploy.host.plan import Plan, bracketed
from luhyaapi.errors import Refused
from luhyaapi.wire import identity


@dataclass(frozen=True)
class Console:
    """``url`` without a trailing slash; ``authority``: certificates (PEM) that are believed there, empty: those the machine knows.

    ``own``: its certificate is the operator's, not one that the cloud signed.
    """

    url: str
    authority: str = ""
    own: bool = False


def of(plan: Plan) -> Console:
    """The console of the cloud. Raises Refused(invalid) for a certificate of its own that cannot be read."""
    chosen: dict[str, Any] = ground.chosen(plan, "clc").get("console", {})
    if not (chosen.get("certificate") and chosen.get("private_key")):
        authority = ground.read(plan.certified / identity.AUTHORITY_FILE) or "" if plan.secured else ""
        return Console(plan.console.rstrip("/"), authority)
    try:
        chain = x509.load_pem_x509_certificates(Path(chosen["certificate"]).read_bytes())
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"console.certificate={chosen['certificate']} cannot be used", str(e),
                      hint=f"It names a PEM file with the certificate and its chain, in {plan.own_settings('clc')}.") from e
    let_in = [*chosen.get("origins", ()), plan.choices.address, "localhost", os.uname().nodename]
    named = _names(chain[0])
    name = next((each for each in let_in if each in named), next(iter(named), plan.choices.address))
    url = str(chosen.get("public_url") or f"https://{bracketed(name)}:{plan.ports['console']}")
    roots = [each.public_bytes(serialization.Encoding.PEM).decode() for each in chain if each.issuer == each.subject]
    return Console(url.rstrip("/"), "".join(roots), own=True)


def _names(certificate: x509.Certificate) -> list[str]:
    """The names and addresses a certificate is for, without patterns."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    names = [name for name in found.get_values_for_type(x509.DNSName) if not name.startswith("*")]
    return names + [str(each) for each in found.get_values_for_type(x509.IPAddress)]


def hint(plan: Plan) -> str:
    """What to look at when no answer comes from a console with a certificate of its own; else empty."""
    there = of(plan)
    return (
        f"It was asked at {there.url}: with your own certificate that name (console.public_url) must lead to this machine, and the "
        "certificate's authority must be known to it, by the system or by standing in the certificate's file."
    ) if there.own else ""
