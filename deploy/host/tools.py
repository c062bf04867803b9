"""Where the programs of others are: installed, or unpacked below the cloud's folder; and what they need to run from there."""

from __future__ import annotations

from pathlib import Path

from deploy.host.plan import Plan

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


def at(plan: Plan, installed: str) -> str:
    """The path of a program that a package installs as ``installed``."""
    unpacked = plan.unpacked / installed.lstrip("/")
    return str(unpacked) if plan.profile.is_unpacked and unpacked.exists() else installed


def environ(plan: Plan) -> dict[str, str]:
    """Search paths for programs and their libraries."""
    root = plan.unpacked
    if not plan.profile.is_unpacked or not root.exists():
        return {"PATH": _PATH}
    return {
        "PATH": ":".join([*(str(root / name) for name in ("usr/sbin", "usr/bin", "sbin", "bin")), _PATH]),
        "LD_LIBRARY_PATH": ":".join(str(root / name) for name in _LIBRARIES),
    }


def broker(plan: Plan) -> dict[str, str]:
    """What RabbitMQ's scripts take for granted when they are where their package puts them."""
    found = sorted((plan.unpacked / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")) if plan.profile.is_unpacked else []
    if not found:
        return {}
    home = found[-1]
    return {"RABBITMQ_HOME": str(home), "RABBITMQ_PLUGINS_DIR": str(home / "plugins")}


def session(plan: Plan) -> dict[str, str]:
    """Where a user's own libvirt keeps things, and where its drivers are."""
    if plan.profile.is_roots:
        return {}
    places = {
        "XDG_CONFIG_HOME": str(plan.session_config), "XDG_CACHE_HOME": f"{plan.hypervisor}/cache",
        "XDG_DATA_HOME": f"{plan.hypervisor}/lib", "XDG_RUNTIME_DIR": f"{plan.hypervisor}/run",
    }
    drivers = plan.unpacked / _LIBRARIES[0] / "libvirt/connection-driver"
    return places | ({"LIBVIRT_DRIVER_DIR": str(drivers)} if drivers.exists() else {})


def virsh(plan: Plan) -> list[str | Path]:
    """The beginning of every call of the private libvirt."""
    return [at(plan, "/usr/bin/virsh"), "-q", "-c", plan.libvirt_uri]
