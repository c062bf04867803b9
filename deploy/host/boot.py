"""The unit by which systemd brings this host's roles back when the machine boots."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.host.plan import DEFAULT_BASE, Plan
from luhyaapi import process
from luhyaapi.errors import Trouble

_TEMPLATE = "deploy/systemd/educloud-host.service"
_THERE = "/opt/educloud"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Init:
    """The machine's systemd: ``running`` is there while it runs, ``units`` are those of the administrator."""

    running: Path = Path("/run/systemd/system")
    units: Path = Path("/etc/systemd/system")
    systemctl: str = "/usr/bin/systemctl"


SYSTEMD = Init()


def unit(plan: Plan) -> str:
    """The name of this cloud's unit; two clouds on one host have their own."""
    base = plan.ports.base
    return "educloud-host.service" if base == DEFAULT_BASE else f"educloud-host-{base}.service"


def text(plan: Plan, environ: Mapping[str, str]) -> str:
    """The unit that stands in the checkout, for this cloud's folders and the user who called."""
    given = {"EDUCLOUD_HOME": plan.home, "EDUCLOUD_PORT_BASE": plan.ports.base}
    given |= {"SUDO_USER": environ["SUDO_USER"]} if environ.get("SUDO_USER") else {}
    lines = (plan.program / _TEMPLATE).read_text("utf-8")
    lines = lines.replace(f"{_THERE}/.venv/bin/python", f'"{_plain(plan.python)}"').replace(_THERE, _plain(plan.program))
    lines = lines.replace("[Service]\n", "[Service]\n" + "".join(f'Environment="{name}={_plain(value)}"\n' for name, value in given.items()))
    # A folder that is gone is not made anew at every boot.
    return lines.replace("[Unit]\n", f"[Unit]\nConditionPathExists={_plain(plan.choices_file)}\n")


def _plain(value: object) -> str:
    return str(value).replace("%", "%%")


def install(plan: Plan, environ: Mapping[str, str], init: Init = SYSTEMD) -> bool:
    """Have what runs here come back at each boot, where root brings it up and systemd runs; whether anything was changed."""
    if not (plan.profile.is_roots and init.running.is_dir()):
        return False
    file, wanted = init.units / unit(plan), text(plan, environ)
    try:
        if file.is_file() and file.read_text("utf-8") == wanted:
            return False
        file.write_text(wanted, "utf-8")
        _systemctl(init, "daemon-reload")
        _systemctl(init, "enable", "--quiet", file.name)
    except (OSError, Trouble) as e:
        print(f"boot            what runs here does not come back at the next boot by itself: {e}", file=sys.stderr, flush=True)
        return False
    return True


def remove(plan: Plan, init: Init = SYSTEMD) -> bool:
    """Nothing of this cloud starts at a boot any more; whether anything was changed."""
    file = init.units / unit(plan)
    if not (plan.profile.is_roots and file.is_file()):
        return False
    try:
        if init.running.is_dir():
            _systemctl(init, "disable", "--quiet", file.name)
        file.unlink()
        if init.running.is_dir():
            _systemctl(init, "daemon-reload")
    except (OSError, Trouble) as e:
        print(f"boot            {file} is still there: {e}", file=sys.stderr, flush=True)
        return False
    return True


def _systemctl(init: Init, *words: str) -> None:
    process.run([init.systemctl, *words], timeout_s=_PATIENCE_S)
