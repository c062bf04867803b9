"""What is set up on this machine: which roles, by which configuration files. Needs nothing but Python."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.host.plan import ROLES, Plan
from deploy.host.profiles import MARK

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
    """One role of this machine. ``own``: what its operator set in ``<role>.local.toml``; ``trouble`` says why ``file`` cannot be read."""

    name: str
    file: Path
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trouble: str = ""
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, group: str, name: str) -> Any:
        """A setting, or its default."""
        given = self.own if name in self.own.get(group, {}) else self.groups
        return given.get(group, {}).get(name, DEFAULTS.get((group, name)))

    def where(self, trouble: str = "") -> Path:
        """The file in which the setting stands that ``trouble``, a role's word about its configuration, begins a line with."""
        named = [line for line in trouble.splitlines() if line]
        is_own = any(line in (group, f"{group}.{name}") or line.startswith(f"{group}.{name}.")
                     for group, settings in self.own.items() for name in settings for line in named)
        return local(self.file) if is_own else self.file

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
    """A machine: the one-host cloud it may carry, the roles that are configured, and the names of those that only others may look at."""

    plan: Plan
    roles: tuple[Role, ...]
    closed: tuple[str, ...] = ()

    @property
    def names_set_up(self) -> set[str]:
        """The roles of this machine, looked at or not."""
        return {*(r.name for r in self.roles), *self.closed}

    @property
    def names(self) -> set[str]:
        """The roles; all five where none is set up yet, since `make up` brings them all."""
        return self.names_set_up or set(ROLES)

    @property
    def is_one_host_cloud(self) -> bool:
        """Whether `make up` was here. Its mark is everybody's to see."""
        return (self.plan.home / MARK).exists()


def local(file: Path) -> Path:
    """The operator's file beside a role's."""
    return file.with_suffix(".local.toml")


def read(name: str, file: Path) -> Role | None:
    """A role by its configuration, None where there is none. Raises PermissionError where only others may look."""
    read_last = file
    try:
        groups = _groups(file)
        read_last = local(file)
        return Role(name, file, groups, own=_groups(read_last) if read_last.exists() else {})
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as e:
        return Role(name, read_last, trouble=f"{type(e).__name__}: {e}")


def _groups(file: Path) -> dict[str, dict[str, Any]]:
    return {group: settings for group, settings in tomllib.loads(file.read_text("utf-8")).items() if isinstance(settings, dict)}


def look(plan: Plan, etc: Path = ETC) -> Site:
    """What is set up: by `make up` below ``plan.home``, else by hand in ``etc``."""
    found, closed = [], []
    for name in ROLES:
        try:
            role = read(name, plan.config(name)) or read(name, etc / f"{name}.toml")
        except PermissionError:
            closed.append(name)
            continue
        if role is not None:
            found.append(role)
    return Site(plan, tuple(found), tuple(closed))
