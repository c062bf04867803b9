"""What the examination asks of the world: each probe looks at one thing, changes nothing, and answers within seconds."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.doctor.machine import Program

_PATIENCE_S = 3.0
_GREETING = b"AMQP\x00\x00\x09\x01"


def installed(program_folder: Path) -> dict[str, str] | None:
    """Package to version of the programs' virtual environment, of our own one if we run in one; None where there is none."""
    where = None
    if sys.prefix == sys.base_prefix:
        where = [str(p) for p in (program_folder / ".venv").glob("lib/python3*/site-packages")]
        if not where:
            return None
    found = metadata.distributions(path=where) if where else metadata.distributions()
    return {d.metadata["Name"]: d.version for d in found if d.metadata["Name"]}


def programs_there(programs: Iterable[Program], root: Path | None = None) -> set[str]:
    """Names of those that are installed, or unpacked below ``root``."""
    roots = [Path("/"), *([root] if root else [])]
    return {p.name for p in programs if any((at / path.lstrip("/")).exists() for path in p.paths for at in roots)}


def free_mib(folder: Path) -> int:
    """Free space where that folder is, or will be, in MiB."""
    there = next(p for p in (folder, *folder.parents) if _is_there(p))
    return shutil.disk_usage(there).free // 2**20


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def memory_mib(meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """Memory of the machine and what is available of it, in MiB."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text("ascii").splitlines() if ":" in line)
    return tuple(int(lines[name].split()[0]) // 1024 for name in ("MemTotal", "MemAvailable"))  # type: ignore[return-value]


def text(path: Path) -> str:
    """What a small file says; empty when it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return ""


def connections(folder: Path = Path("/proc/sys/net/netfilter")) -> tuple[int, int]:
    """How many connections the kernel knows, and how many it can; 0 of 0 where it keeps none."""
    count, most = (text(folder / f"nf_conntrack_{name}").strip() for name in ("count", "max"))
    return (int(count), int(most)) if count.isdigit() and most.isdigit() else (0, 0)


def has_bridges(module: Path = Path("/sys/module/bridge"), modules: Path | None = None) -> bool:
    """Whether the kernel has bridges, or could load them."""
    folder = modules or Path("/lib/modules") / os.uname().release
    return module.exists() or any("/bridge.ko" in text(folder / name) for name in ("modules.builtin", "modules.dep"))


def modes(paths: Iterable[Path]) -> list[tuple[str, int]]:
    """Path and mode of each that is there and that we may look at."""
    found = []
    for path in paths:
        try:
            found.append((str(path), path.lstat().st_mode))
        except OSError:
            continue
    return found


def _unproved() -> ssl.SSLContext:
    """Whom we ask how they are need prove nothing: nothing secret is said, and the roles themselves check."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connects(host: str, port: int, say: bytes, hear: bytes, *, secured: bool = False) -> str:
    """Say something and hear the beginning of the answer; what is wrong, or empty."""
    try:
        with contextlib.ExitStack() as opened:
            line = opened.enter_context(socket.create_connection((host, port), _PATIENCE_S))
            if secured:
                line = opened.enter_context(_unproved().wrap_socket(line))
            line.settimeout(_PATIENCE_S)
            line.sendall(say)
            heard = line.recv(64)
    except OSError as e:
        return str(e) or type(e).__name__
    return "" if heard.startswith(hear) else f"it says {heard[:20]!r}, which is not what belongs there"


def broker(host: str, port: int, *, secured: bool = False) -> str:
    """What is wrong with an AMQP broker, or empty: it answers a greeting with a method frame."""
    return connects(host, port, _GREETING, b"\x01\x00\x00", secured=secured)


def board(host: str, port: int) -> str:
    """What is wrong with memcached, or empty."""
    return connects(host, port, b"version\r\n", b"VERSION ")


def libvirt(uri: str, virsh: str = "/usr/bin/virsh", env: Mapping[str, str] | None = None) -> str:
    """What is wrong with libvirt, or empty."""
    from luhyaapi import process
    from luhyaapi.errors import Trouble

    try:
        process.run([virsh, "-q", "-r", "-c", uri, "uri"], timeout_s=15, env=env)
    except Trouble as e:
        return (e.why or e.what).splitlines()[0][:300]
    return ""


def enclosure(bwrap: str = "/usr/bin/bwrap", env: Mapping[str, str] | None = None) -> str:
    """What the kernel says to an account without rights that encloses a program, or empty."""
    from luhyaapi import process
    from luhyaapi.errors import Trouble

    # To root more is allowed than to the image store.
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"] if os.geteuid() == 0 else []
    walls = ["--unshare-user", "--unshare-net", "--unshare-pid", "--disable-userns", "--ro-bind", "/", "/"]
    try:
        process.run([*as_nobody, bwrap, *walls, "true"], timeout_s=15, env=env)
    except Trouble as e:
        return (e.why or e.what).splitlines()[0][:300]
    return ""


def _get(url: str) -> tuple[int, bytes, str]:
    """Status, body, Date of one GET. Raises OSError."""
    at = urlsplit(url)
    line = (
        http.client.HTTPSConnection(at.hostname or "", at.port, timeout=_PATIENCE_S, context=_unproved())
        if at.scheme == "https" else http.client.HTTPConnection(at.hostname or "", at.port, timeout=_PATIENCE_S)
    )
    try:
        line.request("GET", at.path or "/")
        answer = line.getresponse()
        return answer.status, answer.read(65536), answer.headers.get("Date", "")
    except (http.client.HTTPException, ValueError) as e:
        raise OSError(str(e) or type(e).__name__) from e
    finally:
        line.close()


def place_of(url: str) -> tuple[str, int, bool]:
    """Host and port of a broker's address, and whether it speaks TLS; nowhere when it is none."""
    try:
        at = urlsplit(url)
        place = at.hostname or "", at.port or 0, at.scheme == "amqps"
    except ValueError:
        return "", 0, False
    return place


def ready(url: str) -> tuple[int, list[str]]:
    """Status of a /readyz and the reasons it gives; (0, [why]) when nobody answers."""
    try:
        status, body, _ = _get(f"{url}/readyz")
    except OSError as e:
        return 0, [str(e) or type(e).__name__]
    try:
        form: Any = json.loads(body)
        return status, [str(reason) for reason in form.get("reasons", [])]
    except (ValueError, AttributeError):
        return status, []


def offset_s(door: str, now_s: float) -> float | None:
    """How many seconds our clock is ahead of a door's, by its Date header; None when it cannot be told."""
    try:
        told = parsedate_to_datetime(_get(f"{door}/healthz")[2])
    except (OSError, ValueError, TypeError):
        return None
    # The header has whole seconds.
    return now_s - told.timestamp() - 0.5


def validity(certificate: Path) -> tuple[float, float] | None:
    """From when until when a certificate is valid, in seconds since 1970; None when it cannot be read."""
    from cryptography import x509

    try:
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return None
    return read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()


def config_trouble(file: Path) -> str:
    """What a role would say of its configuration at its start, or empty."""
    from luhyaapi import conf
    from luhyaapi.errors import Trouble

    before = os.environ.get(conf.CONFIG_VARIABLE)
    try:
        conf.load(file)
    except Trouble as e:
        return e.why or e.what
    finally:
        os.environ.pop(conf.CONFIG_VARIABLE, None)
        if before is not None:
            os.environ[conf.CONFIG_VARIABLE] = before
    return ""


def supervisor_states(plan: Any) -> dict[str, str] | None:
    """Program to its state; None when the supervisor does not answer."""
    from xmlrpc.client import Error

    from deploy.host.supervision import Supervision

    try:
        return Supervision(plan).states()
    except (OSError, Error):
        return None


def of_another_machine(folder: Path) -> tuple[str, str]:
    """Why an identity is another machine's, and what to do; empty when it may be this one's."""
    from luhyaapi import facts
    from luhyaapi.wire import joining

    why = joining.of_another(folder, facts.marks())
    return why, joining.what_to_do(folder) if why else ""


def membership(folder: Path) -> dict[str, str]:
    """What a role was given when it joined; nothing before, or where it cannot be read."""
    try:
        form = json.loads(text(folder / "membership.json") or "{}")
    except ValueError:
        return {}
    is_joined = isinstance(form, dict) and _is_there(folder / "certificate.pem")
    return {k: str(v) for k, v in form.items()} if is_joined else {}
