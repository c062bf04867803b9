"""``python -m deploy.testbed VERB``: up, down, list, shell HOST, cut HOST NETWORK [sends|hears], heal, off HOST, on HOST.

``--hosts FILE up`` brings up another bed than the five hosts; what is done to it later goes by the description it was made from.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.testbed import description
from deploy.testbed.bed import Bed
from luhyaapi import log
from luhyaapi.errors import CODES, Refused, Trouble

_FOLDER = Path("/srv/educloud-testbed")
_FIVE = Path(__file__).with_name("five.toml")
_KEPT = "bed.toml"


def main(argv: list[str]) -> int:
    """Exit code: 0 done, else the error's own."""
    parser = argparse.ArgumentParser(prog="python -m deploy.testbed", description="A cloud of several hosts on this machine.")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where the hosts' files are")
    parser.add_argument("--hosts", type=Path, default=None, help="the description of a new bed, such as deploy/testbed/one_lan.toml; else five hosts")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "down", "list", "heal"):
        verbs.add_parser(verb)
    for verb in ("shell", "off", "on"):
        verbs.add_parser(verb).add_argument("host")
    cut = verbs.add_parser("cut")
    cut.add_argument("host")
    cut.add_argument("network")
    cut.add_argument("way", nargs="?", choices=("both", "sends", "hears"), default="both")
    given = parser.parse_args(argv)
    log.setup("WARNING")
    try:
        if os.geteuid() != 0:
            raise Refused("forbidden", "A bed needs root", hint="Run it as root.")
        given.hosts = _file(given.folder, given.hosts)
        _do(Bed(given.folder, description.read(given.hosts)), given)
    except Trouble as e:
        print(f"{e.what}\n  why:  {e.why or CODES[e.code].title}\n  next: {e.hint}\n  code: {e.code}", file=sys.stderr)
        return CODES[e.code].exit
    return 0


def _file(folder: Path, chosen: Path | None) -> Path:
    """The description that holds. Raises Refused(conflict) when a bed of another one is there."""
    kept = folder / _KEPT
    if not kept.exists():
        return chosen or _FIVE
    if chosen and chosen.read_bytes() != kept.read_bytes():
        raise Refused("conflict", f"In {folder} is a bed of another description", hint="Take it down first, or give another --folder.")
    return kept


def _do(bed: Bed, given: argparse.Namespace) -> None:
    host = getattr(given, "host", "")
    if host and host not in bed.description.hosts:
        raise Refused("not_found", f"The bed has no host {host}", f"it has {', '.join(bed.description.hosts)}")
    verbs: dict[str, Callable[[], None]] = {
        "up": lambda: _up(bed, given.hosts), "down": bed.destroy, "list": lambda: _list(bed), "shell": lambda: _shell(bed, host),
        "cut": lambda: bed.switch.cut(bed.description.hosts[host], given.network, sends=given.way != "hears", hears=given.way != "sends"),
        "heal": bed.switch.heal, "off": lambda: bed.power_off(host), "on": lambda: _on(bed, host),
    }
    verbs[given.verb]()


def _up(bed: Bed, file: Path) -> None:
    if not bed.pid(bed.front.name):
        bed.build()
        (bed.folder / _KEPT).write_bytes(file.read_bytes())
    bed.up()
    print(f"console https://{next(iter(bed.front.addresses.values()))}:8600/ as the bed's hosts see it; `shell {bed.front.name}` goes there")


def _on(bed: Bed, host: str) -> None:
    bed.power_on(host)
    bed.make(host, "up")


def _list(bed: Bed) -> None:
    for name, each in bed.description.hosts.items():
        print(f"{name:<9} {'on' if bed.pid(name) else 'off':<4} {','.join(each.roles):<12} {each.addresses}")


def _shell(bed: Bed, host: str) -> None:
    os.execvp("nsenter", [*bed.inside(host), "/bin/bash"])  # noqa: S606, S607 - the operator's own shell, in the host


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
