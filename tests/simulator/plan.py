"""What a seed has planned: which clients ask for what, which faults come when. Everything else is the scheduler's chance."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

ACTIONS: dict[str, int] = {
    "run": 10, "run_many": 2, "stop": 4, "start": 4, "reboot": 3, "delete": 7, "cancel": 4, "upload": 2, "delete_image": 1,
    "drain": 2, "resume": 2, "refresh": 1, "join": 1, "remove": 1,
}
FAULTS: dict[str, int] = {
    "drop": 3, "double": 3, "reorder": 3, "delay": 3, "cut": 4, "cut_one_way": 3, "crash": 5, "crash_at": 10, "outage": 2,
    "host_power": 2, "slow_disk": 1, "full_disk": 2, "hypervisor_away": 3, "hypervisor_slow": 2, "hypervisor_refuses": 2,
    "guest_dies": 2, "guest_ends": 2, "guest_started": 1, "board_emptied": 1, "clock_forward": 1, "clock_backward": 1,
    "broker_away": 2, "broker_lost": 1, "stubborn": 1, "edge_refuses": 1, "crash_committed": 3, "lie": 2,
}
"""Each with how often it comes, compared to the others."""
OF_IMAGES: dict[str, int] = {
    "prepare": 5, "space_start": 5, "edit": 6, "space_stop": 2, "submit": 6, "abandon": 2, "run_disk": 3, "upload_disk": 2, "roll_back": 1,
    "retire": 2, "cancel": 1,
}
FAULTS_OF_IMAGES: dict[str, int] = {"crash_bytes": 6, "bytes_cut": 3, "bytes_flip": 1}
LASTS_S = 45.0


@dataclass(frozen=True)
class Item:
    """One thing planned: at ``at`` seconds, ``by`` a client or as a fault; ``dice`` or ``about`` decide what it needs (0 to 1 each)."""

    at: float
    by: str
    name: str
    dice: tuple[float, ...] = ()
    lasts_s: float = 0.0
    about: str = ""


@dataclass(frozen=True)
class Plan:
    """The items of a seed, and which kinds it was allowed to have."""

    seed: str
    kinds: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    items: tuple[Item, ...] = field(default=())

    def without(self, items: Iterable[Item]) -> Plan:
        """The same plan, less these."""
        gone = set(items)
        return replace(self, items=tuple(i for i in self.items if i not in gone))


def make(seed: str, *, kinds: tuple[str, ...] | None = None, only: tuple[str, ...] | None = None, longer: int = 1) -> Plan:
    """The plan of a seed: a random part of all faults and actions is enabled, about six faults and ten actions come.

    ``kinds`` and ``only`` name the faults and the actions instead; ``longer`` is how many times as long and as much it is.
    """
    rng = random.Random(f"plan {seed}")
    is_free = kinds is None and only is None
    if kinds is None:
        share = rng.choice((0.1, 0.25, 0.5, 1.0))
        kinds = tuple(k for k in FAULTS if rng.random() < share)
    actions = ("run", *(a for a in ACTIONS if a != "run" and rng.random() < rng.choice((0.4, 1.0))))
    actions = only or actions
    moments = sorted(rng.uniform(0, LASTS_S * longer) for _ in range(rng.randint(2, 7) * longer))
    items = [Item(0.0, "client", "run", _dice(rng)), Item(rng.uniform(0, 2), "client", "run", _dice(rng))]
    items += [
        Item(rng.choice(moments) + rng.choice((0.0, 0.0, rng.random())), "client", name, _dice(rng))
        for name in rng.choices(actions, [(ACTIONS | OF_IMAGES).get(a, 1) for a in actions], k=rng.randint(5, 11) * longer)
    ]
    if kinds:
        for name in rng.choices(kinds, [(FAULTS | FAULTS_OF_IMAGES)[k] for k in kinds], k=rng.randint(2, 10) * longer):
            at = rng.choice(moments) + rng.choice((-0.5, 0.0, 0.0, rng.random()))
            items.append(Item(max(at, 0.0), "fault", name, _dice(rng), rng.choice((1.0, 5.0, 15.0, 40.0))))
    if only is None or "prefetch" in only:
        items += _prefetches(seed, moments, LASTS_S * longer)
    if only is None or "restore" in only:
        items += _restores(seed, moments, LASTS_S * longer)
    if is_free:
        items += _older_copies(seed, moments)
    if is_free or "submit" in (only or ()):
        items += _of_images(seed, is_calm=not kinds or not is_free, always=not is_free)
    return Plan(seed, kinds, actions, tuple(sorted(items, key=lambda i: i.at)))


def _prefetches(seed: str, moments: list[float], lasts_s: float) -> list[Item]:
    """Of every fourth seed, by dice of their own: the other items of a seed stay as they were."""
    rng = random.Random(f"prefetch {seed}")
    if rng.random() > 0.25:
        return []
    return [Item(min(rng.choice(moments) + rng.random(), lasts_s), "client", "prefetch", _dice(rng)) for _ in range(rng.randint(1, 2))]


def _of_images(seed: str, *, is_calm: bool, always: bool) -> list[Item]:
    """Of every third seed, or always, by dice of their own: workspaces from the beginning to their end, two of them now and then, and what meets bytes."""
    rng = random.Random(f"images {seed}")
    if rng.random() > 1 / 3 and not always:
        return []
    items, at = [], rng.uniform(0, 5)
    for name in ("prepare", *(["prepare"] if rng.random() < 0.4 else []), "space_start", "edit", "submit"):
        items.append(Item(at, "client", name, _dice(rng)))
        at += rng.uniform(1, 12)
    more = rng.choices(list(OF_IMAGES), list(OF_IMAGES.values()), k=rng.randint(2, 10))
    items += [Item(rng.uniform(0, at), "client", name, _dice(rng)) for name in more]
    faults = [] if is_calm or rng.random() < 0.3 else rng.choices(list(FAULTS_OF_IMAGES), list(FAULTS_OF_IMAGES.values()), k=rng.randint(1, 3))
    return items + [Item(rng.uniform(0, at), "fault", name, _dice(rng), rng.choice((1.0, 5.0, 15.0))) for name in faults]


def _restores(seed: str, moments: list[float], lasts_s: float) -> list[Item]:
    """Likewise."""
    rng = random.Random(f"restore {seed}")
    if rng.random() > 0.25:
        return []
    return [Item(min(rng.choice(moments) + rng.random(), lasts_s), "client", "restore", _dice(rng)) for _ in range(rng.randint(1, 3))]


def _older_copies(seed: str, moments: list[float]) -> list[Item]:
    """Of every tenth seed."""
    rng = random.Random(f"older copy {seed}")
    if rng.random() > 0.1:
        return []
    return [Item(rng.choice(moments), "fault", "older_copy", _dice(rng), rng.choice((1.0, 5.0, 15.0, 40.0)))]


def _dice(rng: random.Random) -> tuple[float, ...]:
    return tuple(round(rng.random(), 6) for _ in range(4))
