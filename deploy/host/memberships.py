"""What the roles of this host were granted when they joined, after an address changed: identities, guests and children stay."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx

from deploy.host import addresses, configs, ground
from deploy.host.plan import BOSSES, LOOPBACK, REACHED, Choices, Plan, bracketed
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire import identity, tls
from luhyaapi.wire.identity import Membership

_FILE = "membership.json"
_OwnerOf = Callable[[str], ground.Owner]


def renew(plan: Plan, as_role: Callable[..., str], owner_of: _OwnerOf = ground.owner) -> set[str]:
    """Have what the roles beside their CLC hold say where their bosses are by ``plan``; the programs that hold something new.

    ``as_role(plan, role, *words, stdin=...)`` runs a step of the installation, its standard output comes back.
    """
    changed: set[str] = set()
    for role, held in _held(plan):
        wanted = _beside(plan, role, held)
        if plan.secured and role in REACHED and not wanted.tls:
            asked = as_role(plan, role, "tls-request")
            wanted = dataclasses.replace(wanted, tls=as_role(plan, "clc", "certify-door", "--host", held.host, stdin=asked.encode()))
        if wanted != held:
            _keep(plan, role, wanted, owner_of)
            changed |= set(plan.programs_of(role))
    return changed


def follow(plan: Plan, before: Choices, owner_of: _OwnerOf = ground.owner) -> set[str]:
    """Have what the roles that joined from here hold say the new addresses of their bosses; the programs that hold something new.

    Only what the boss proves to be its own is believed. Raises Refused(state) where that takes joining anew,
    Unavailable(host_silent) when no such boss answers there; then nothing was changed.
    """
    for role, held in _held(plan):
        if "clc" not in plan.roles and plan.secured and role in REACHED and not held.tls:
            raise Refused("state", f"{role} has no certificate for doors at {plan.choices.listen}", "it joined while no other host reached it",
                          hint=f"Leave LISTEN out, or let {role} join anew: `make reset`, then `make join` with a token.")
    moved = [(role, held) for role, held in _held(plan) if before.bosses.get(role, plan.boss_door(role)) != plan.boss_door(role)]
    for role, held in moved:
        _can_follow(plan, role, held)
    for role, held in moved:
        host = bracketed(addresses.boss_host(plan.boss_door(role)))
        broker = urlsplit(held.broker)
        streams = f"{addresses.boss_host(plan.boss_door(role))}:{held.streams.rpartition(':')[2]}"
        _keep(plan, role, dataclasses.replace(held, broker=_at(held.broker, broker.scheme, f"{host}:{broker.port}"), streams=streams), owner_of)
    return {program for role, _ in moved for program in plan.programs_of(role)}


def _held(plan: Plan) -> Iterator[tuple[str, Membership]]:
    for role in plan.roles:
        folder = plan.certificate(role).parent
        if role in BOSSES and plan.certificate(role).exists() and (text := ground.read(folder / _FILE)):
            yield role, Membership(**json.loads(text))


def _beside(plan: Plan, role: str, held: Membership) -> Membership:
    """With the addresses of a boss on this very host."""
    boss = BOSSES[role]
    if boss not in plan.roles or "broker" not in plan.services:
        return held
    own = configs.own_broker(plan, boss)
    scheme, where = ("amqps", own["address"]) if "address" in own else ("amqp", f"{own['host']}:{own['port']}")
    return dataclasses.replace(
        held, broker=_at(held.broker, scheme, where), broker_name=(own.get("name") or held.boss) if plan.secured else "",
        streams=f"{plan.choices.address}:{plan.ports[f'{boss}_stream']}",
    )


def _at(url: str, scheme: str, where: str) -> str:
    """A broker's address with the same account and virtual host elsewhere."""
    parts = urlsplit(url)
    return parts._replace(scheme=scheme, netloc=f"{parts.netloc.rpartition('@')[0]}@{where}").geturl()


def _can_follow(plan: Plan, role: str, held: Membership) -> None:
    door = plan.boss_door(role)
    if held.secured != door.startswith("https:"):
        raise Refused("state", f"{role} cannot go on at {door}", "it joined a boss " + ("by TLS" if held.secured else "that speaks no TLS"),
                      hint=f"Name the boss's address as it was joined, or let {role} join anew: `make reset`, then `make join` with a token.")
    if not held.secured or BOSSES[role] in plan.roles:
        return  # on this very machine, and about to start
    trusted = tls.trust(plan.certificate(role).parent, held.boss)
    try:
        with tls.http(trusted) as client:
            client.get(f"{door}/{BOSSES[role]}/api/1.0/authority/", timeout=10, extensions=tls.asking(trusted)).raise_for_status()
    except (httpx.HTTPError, OSError) as e:
        raise Unavailable(
            "host_silent", f"The boss of this {role}, {held.boss}, does not answer at {door}", str(e),
            hint=f"Nothing was changed. Check the address and that the boss runs; for a boss of another cloud {role} joins anew: "
            "`make reset`, then `make join` with a token.",
        ) from e


def _keep(plan: Plan, role: str, wanted: Membership, owner_of: _OwnerOf) -> None:
    folder, to = plan.certificate(role).parent, owner_of(plan.user(role))
    if wanted.tls:
        ground.write(folder / identity.TLS_FILE, wanted.tls, to, 0o644)
    ground.write(folder / _FILE, json.dumps(wanted.__dict__), to)


def moved(plan: Plan, before: Choices) -> str:
    """What hosts elsewhere that found this one at another address are to do; empty: nothing, it is the same, or none came."""
    was, now = before.address, plan.choices.address
    if before.listen == LOOPBACK or was == now or not {"clc", "cc"} & set(plan.roles):
        return ""
    return f"hosts that joined at {was} find this one again by `make join ROLE=... BOSS={now}` there"
