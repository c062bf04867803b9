"""What is set up on this machine: which roles, by which configuration files. Needs nothing but Python."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.host.plan import ROLES, Plan

ETC = Path("/etc/educloud")
DEFAULTS: dict[tuple[str, str], Any] = {
    ("host", "listen"): "127.0.0.1", ("host", "tls"): False, ("host", "door_port"): 8602, ("host", "stream_port"): 8601, ("boss", "door"): "",
    ("broker", "host"): "127.0.0.1", ("broker", "port"): 8610, ("board", "host"): "127.0.0.1", ("board", "port"): 8614,
    ("console", "port"): 8600, ("hypervisor", "driver"): "libvirt", ("hypervisor", "uri"): "qemu:///system",
    ("network", "driver"): "dnsmasq", ("network", "node_driver"): "bridge", ("network", "bridge"): "edubr0",
}
"""What a configuration leaves open; as ``luhyaapi.conf``, which needs packages that may not be there yet."""


@dataclass(frozen=True)
class Role:
    """One role of this machine. ``trouble`` says why its file cannot be read."""

    name: str
    file: Path
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trouble: str = ""

    def get(self, group: str, name: str) -> Any:
        """A setting, or its default."""
        return (self.groups.get(group) or {}).get(name, DEFAULTS.get((group, name)))

    def path(self, group: str, name: str) -> Path | None:
        """A setting that names a file, None where it is open."""
        value = self.get(group, name)
        return Path(str(value)) if value else None

    @property
    def state(self) -> Path:
        """The folder it remembers in."""
        return self.path("host", "state") or Path("/var/lib/educloud") / self.name

    @property
    def address(self) -> str:
        """Where its doors are reached from this machine."""
        listen = str(self.get("host", "listen"))
        return "127.0.0.1" if listen in ("", "0.0.0.0", "::") else listen  # noqa: S104 - read, never bound

    def door(self, group: str, port: str) -> str:
        """The address of one of its doors."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        secured = self.get("host", "tls") or (group == "console" and self.get("console", "certificate"))
        return f"http{'s' if secured else ''}://{host}:{self.get(group, port)}"

    def is_local(self, group: str) -> bool:
        """Whether the service that group names is one of this machine."""
        return str(self.get(group, "host")).startswith("127.") or self.get(group, "host") in ("localhost", "::1")


@dataclass(frozen=True)
class Site:
    """A machine: the one-host cloud it may carry, and the roles that are configured."""

    plan: Plan
    roles: tuple[Role, ...]

    @property
    def names(self) -> set[str]:
        """The roles; all five where none is set up yet, since `make up` brings them all."""
        return {r.name for r in self.roles} or set(ROLES)

    @property
    def is_one_host_cloud(self) -> bool:
        """Whether `make up` was here."""
        return (self.plan.supervisor / "supervisord.conf").exists()


def read(name: str, file: Path) -> Role | None:
    """A role by its configuration, None where there is none."""
    try:
        return Role(name, file, tomllib.loads(file.read_text("utf-8")))
    except (FileNotFoundError, PermissionError):
        return None  # what only root may see is not ours to judge
    except (OSError, ValueError) as e:
        return Role(name, file, trouble=f"{type(e).__name__}: {e}")


def look(plan: Plan, etc: Path = ETC) -> Site:
    """What is set up: by `make up` below ``plan.home``, else by hand in ``etc``."""
    found = []
    for name in ROLES:
        role = read(name, plan.config(name)) or read(name, etc / f"{name}.toml")
        if role is not None:
            found.append(role)
    return Site(plan, tuple(found))
