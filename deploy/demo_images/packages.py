"""Debian packages from the machine's own package sources: which version, fetched once, unpacked without installing."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luhyaapi import process
from luhyaapi.errors import Failed

Cancelled = Callable[[], bool]
_UPDATE = "Run `apt-get update` on this host, then try again."
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_ORIGINS = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
_RETRIES = 5
_PASSED_ON = re.compile(r"^Acquire::(https?|Check-Valid-Until|Check-Date|Retries|ForceIPv[46])\b")


@dataclass(frozen=True)
class Package:
    """The version of a package that apt would install here, and the digest of its file."""

    name: str
    version: str
    sha256: str
    depends: tuple[str, ...]


def candidates(names: Sequence[str]) -> dict[str, Package]:
    """What apt would install for each name. Raises Failed(missing) naming those apt does not know."""
    told = process.run(["apt-cache", "show", "--no-all-versions", *names], timeout_s=60, check=False)
    found = {p.name: p for p in map(_stanza, told.text.split("\n\n")) if p}
    unknown = [n for n in names if n not in found]
    if unknown:
        why = "its package lists are empty or old, or its sources lack Debian's main archive"
        raise Failed("missing", f"apt does not know {', '.join(unknown)}", why, hint=_UPDATE)
    return {n: found[n] for n in names}


def _stanza(text: str) -> Package | None:
    fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", text, re.MULTILINE))
    if not {"Package", "Version", "SHA256"} <= fields.keys():
        return None
    first = [_NAME.match(part.strip()) for part in fields.get("Depends", "").split(",")]
    depends = tuple(m.group() for m in first if m)
    return Package(fields["Package"], fields["Version"], fields["SHA256"], depends)


def cloud_kernel() -> Package:
    """The newest kernel for virtual machines. Raises Failed(missing)."""
    name = "linux-image-cloud-amd64"
    for needed in candidates([name])[name].depends:
        if needed.startswith("linux-image-"):
            return candidates([needed])[needed]
    raise Failed("missing", f"{name} names no kernel", "its dependencies look different than expected")


def fetch(package: Package, cache: Path, cancelled: Cancelled | None = None) -> Path:
    """The package's file, from ``cache`` when its digest fits, else downloaded into it.

    Raises Failed(missing) when apt cannot get it, Failed(digest), Refused(cancelled).
    """
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{package.name}_{package.sha256[:16]}.deb"
    if kept.is_file() and _digest(kept) == package.sha256:
        return kept
    with tempfile.TemporaryDirectory(dir=cache, prefix=".get-") as name:
        options = ["-o", "APT::Sandbox::User=root", "-o", f"Acquire::Retries={_RETRIES}"]
        argv = ["apt-get", "-q", *options, "download", f"{package.name}={package.version}"]
        told = process.run(argv, timeout_s=900, cwd=Path(name), check=False, cancelled=cancelled)
        got = next(Path(name).glob("*.deb"), None)
        if told.code != 0 or got is None:
            why = told.stderr.decode("utf-8", "replace").strip()[-500:]
            raise Failed("missing", f"apt could not fetch {package.name} {package.version}", why, hint=_UPDATE)
        if _digest(got) != package.sha256:
            raise Failed("digest", f"The file of {package.name} is not the one apt announced")
        got.replace(kept)
    return kept


def unpack(deb: Path, into: Path, cancelled: Cancelled | None = None) -> Path:
    """The files of a package below ``into``; none of its scripts runs. Returns ``into``."""
    into.mkdir(parents=True, exist_ok=True)
    process.run(["dpkg-deb", "-x", deb, into], timeout_s=300, cancelled=cancelled)
    return into


def sources(codename: str) -> list[str]:
    """The host's own Debian sources of that release, as one-line ``deb`` entries.

    Raises Failed(missing) when apt lists none.
    """
    told = process.run(["apt-get", "indextargets", "--format", _ORIGINS, "Created-By: Packages"], timeout_s=60)
    lines: dict[str, None] = {}
    for line in told.text.splitlines():
        origin, name, uri, release, component = (*line.split("|"), "", "", "", "")[:5]
        suites = (codename, f"{codename}-updates", f"{codename}-security")
        if origin == "Debian" and name in suites and component == "main":
            lines[f"deb {uri} {release} main"] = None
    if not any(f" {codename} main" in line for line in lines):
        raise Failed("missing", f"apt has no package lists of Debian {codename}", "none is among its sources", hint=_UPDATE)
    return list(lines)


def fetch_options() -> list[str]:
    """How this host's apt reaches its sources (proxy, retries, date checks), as configuration lines."""
    told = process.run(["apt-config", "dump", "--no-empty", "--format", '%F "%v";%n'], timeout_s=60)
    ours = [line for line in told.text.splitlines() if _PASSED_ON.match(line)]
    # The last one counts: what the host says wins over ours.
    return [f'Acquire::Retries "{_RETRIES}";', *ours]


def _digest(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
