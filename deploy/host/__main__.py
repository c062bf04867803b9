"""``python -m deploy.host VERB``: up, join, down, reset, and services-up for the services alone."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from deploy.host import addresses, ground, plan, profiles
from deploy.host.down import down, reset
from deploy.host.join import chosen, join, up_joined
from deploy.host.up import services_up, up
from luhyaapi import log
from luhyaapi.errors import CODES, Refused, Trouble

_ROOT = Path(__file__).resolve().parents[2]
_VERBS = ("up", "join", "down", "reset", "services-up")
_SOFT_EXIT = 2


def main(argv: list[str]) -> int:
    """Exit code: 0 done, else the error's own."""
    if len(argv) != 1 or argv[0] not in _VERBS:
        print(f"usage: python -m deploy.host {'|'.join(_VERBS)}", file=sys.stderr)
        return _SOFT_EXIT
    log.setup("WARNING")
    try:
        _run(argv[0])
    except Trouble as e:
        print(f"{e.what}\n  why:  {e.why or CODES[e.code].title}\n  next: {e.hint}\n  code: {e.code}", file=sys.stderr)
        return CODES[e.code].exit
    return 0


def _run(verb: str) -> None:
    where = _plan()
    if verb in ("down", "reset") and not where.home.exists():
        print(f"nothing to do: there is no {where.home}")
        return
    # The lock is the folder itself, and a folder made only for the lock must not survive a refusal of reset.
    with ground.alone(where.home):
        if verb == "join":
            _joins(where)
            join(_with(where, chosen(where, os.environ)), os.environ)
        elif verb == "up":
            _alone(where)
            where = _with(where, addresses.listening(os.environ.get("LISTEN", ""), where.choices))
            where = _with(where, addresses.with_roles(os.environ.get("EDUCLOUD_ROLES", ""), where.choices))
            where = _with(where, addresses.with_demo(os.environ.get("EDUCLOUD_DEMO", ""), where.choices))
            if where.choices.bosses:
                up_joined(where, os.environ)
            else:
                up(where, os.environ)
        elif verb == "services-up":
            services_up(where)
        elif verb == "down":
            down(where)
        else:
            reset(where, os.environ)


def _plan() -> plan.Plan:
    home, file = profiles.places(os.environ, os.geteuid())
    # A virtual environment may be a link, and its interpreter may live anywhere, e.g. below somebody's home.
    runtime = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    made = plan.make(os.environ, _ROOT, Path(sys.executable), file, runtime=runtime, default_home=home)
    profile = profiles.chosen(os.environ.get("PROFILE", ""), made.home, os.geteuid())
    return dataclasses.replace(made, profile=profile)


def _joins(where: plan.Plan) -> None:
    if not where.profile.is_roots:
        raise Refused("invalid", f"PROFILE={where.profile.name} has all its roles on one host", hint="Hosts join clouds of PROFILE=full.")


def _alone(where: plan.Plan) -> None:
    for name in ("LISTEN", "EDUCLOUD_ROLES", "EDUCLOUD_UPLINK"):
        if os.environ.get(name) and not where.profile.is_roots:
            raise Refused("invalid", f"{name} is not for PROFILE={where.profile.name}", "its doors are for this machine alone",
                          hint="Clouds that others reach, or of several hosts, are made by PROFILE=full.")


def _with(where: plan.Plan, choices: plan.Choices) -> plan.Plan:
    return dataclasses.replace(where, choices=addresses.uplinked(os.environ.get("EDUCLOUD_UPLINK", ""), choices))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
