"""What the pages need to show a value: icons, state pills, labels, sizes and ages, in the reader's language."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone, translation
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_noop

from clc.services.sentences import said
from luhyaapi import clock
from luhyaapi.contracts import vocabulary
from luhyaapi.contracts.vocabulary import Word

register = template.Library()

STATE_ICONS = {
    "TaskState": {
        "queued": "clock",
        "running": "loader-2",
        "cancelling": "loader-2",
        "done": "circle-check",
        "failed": "alert-triangle",
        "cancelled": "ban",
        "lost": "help-circle",
    },
    "InstanceState": {
        "defined": "circle-dashed",
        "queued": "clock",
        "starting": "loader-2",
        "running": "player-play-filled",
        "stopping": "loader-2",
        "stopped": "player-stop",
        "deleted": "trash",
        "failed": "alert-triangle",
        "unknown": "help-circle",
    },
    "HostState": {
        "new": "hourglass",
        "up": "circle-check",
        "silent": "plug-connected-x",
        "draining": "arrow-bar-to-down",
        "down": "power",
        "retired": "archive",
    },
    "ImageState": {
        "draft": "circle-dashed",
        "building": "loader-2",
        "published": "circle-check",
        "retired": "archive",
        "failed": "alert-triangle",
    },
    "WorkspaceState": {
        "preparing": "loader-2",
        "editing": "clipboard-text",
        "submitting": "loader-2",
        "published": "circle-check",
        "abandoned": "ban",
        "failed": "alert-triangle",
    },
    "Accelerator": {"kvm": "bolt", "tcg": "cpu", "simulated": "flask", "unproved": "help-circle"},
    "Health": {"ok": "circle-check", "warn": "alert-triangle", "bad": "plug-connected-x"},
    "AddressState": {"free": "circle", "resting": "hourglass", "allocated": "circle-check", "associated": "route"},
    "LeaseState": {
        "free": "circle", "lent": "circle-check", "resting": "hourglass", "reserved": "map-pin", "taken": "alert-triangle", "gateway": "route",
        "outside": "ban",
    },
    "LinkState": {"ok": "circle-check", "broken": "plug-connected-x", "unknown": "help-circle", "skipped": "circle-dashed"},
    "NetworkMode": {"node": "server-bolt", "cluster": "building", "campus": "world", "closed": "lock"},
    "RequestState": {"waiting": "clock", "approved": "circle-check", "refused": "ban"},
    "Result": {"done": "circle-check", "refused": "ban"},
    "Via": {
        "page": "layout-dashboard", "api": "terminal-2", "live": "plug-connected", "host": "server-2", "cloud": "cloud", "shell": "terminal",
    },
    "Usage": {"desktop": "device-desktop", "server": "server-2"},
    "Role": {"clc": "cloud", "walrus": "photo", "cc": "topology-star-3", "nc": "server-bolt", "sc": "database"},
}
ENUMS: dict[str, type[Word]] = {
    "instance": vocabulary.InstanceState,
    "task": vocabulary.TaskState,
    "host": vocabulary.HostState,
    "image": vocabulary.ImageState,
    "workspace": vocabulary.WorkspaceState,
    "role": vocabulary.Role,
    "usage": vocabulary.Usage,
    "network": vocabulary.NetworkMode,
    "protocol": vocabulary.Protocol,
    "persistence": vocabulary.Persistence,
    "accelerator": vocabulary.Accelerator,
    "health": vocabulary.Health,
    "architecture": vocabulary.Architecture,
    "request": vocabulary.RequestState,
    "via": vocabulary.Via,
    "result": vocabulary.Result,
}
KINDS = {
    "instance.run": gettext_noop("Run instance"),
    "instance.start": gettext_noop("Start instance"),
    "instance.stop": gettext_noop("Stop instance"),
    "instance.reboot": gettext_noop("Reboot instance"),
    "instance.connect": gettext_noop("Connect instance"),
    "instance.delete": gettext_noop("Delete instance"),
    "image.publish": gettext_noop("Publish image"),
    "image.build": gettext_noop("Build image"),
    "image.upload": gettext_noop("Upload image"),
    "image.delete": gettext_noop("Delete image"),
    "image.fetch": gettext_noop("Fetch image"),
    "instance.restore": gettext_noop("Restore system disk"),
    "restore": gettext_noop("making the system disk"),
    "workspace.prepare": gettext_noop("Prepare workspace"),
    "workspace.submit": gettext_noop("Submit workspace"),
    "push": gettext_noop("sending what changed"),
    "image.prefetch": gettext_noop("Prefetch image"),
    "image.compare": gettext_noop("Compare versions"),
    "domain.start": gettext_noop("Start on the node"),
    "domain.stop": gettext_noop("Stop on the node"),
    "domain.delete": gettext_noop("Clean up on the node"),
    "host.admit": gettext_noop("Admit host"),
    "host.refuse": gettext_noop("Refuse host"),
    "host.remove": gettext_noop("Remove host"),
    "host.drain": gettext_noop("Drain host"),
    "host.refresh": gettext_noop("Refresh host"),
    "task.cancel": gettext_noop("Cancel task"),
    "stream.open": gettext_noop("Open screen"),
    "place": gettext_noop("choosing a node"),
    "fetch-cluster": gettext_noop("fetching to the cluster"),
    "fetch-node": gettext_noop("fetching to the node"),
    "fetch": gettext_noop("fetching the image"),
    "address": gettext_noop("setting up the address"),
    "boot": gettext_noop("booting"),
    "clone": gettext_noop("cloning"),
    "halt": gettext_noop("stopping"),
    "wipe": gettext_noop("cleaning up"),
    "release": gettext_noop("releasing addresses"),
    "check": gettext_noop("checking"),
    "cancel": gettext_noop("undoing"),
    "kernel": gettext_noop("Kernel"),
    "initrd": gettext_noop("Initial ramdisk"),
    "disk": gettext_noop("Disk"),
    "broker": gettext_noop("Broker"),
    "board": gettext_noop("Board"),
    "outbox": gettext_noop("Outbox"),
    "dead letters": gettext_noop("Dead letters"),
    "cache": gettext_noop("Cache"),
    "database": gettext_noop("Database"),
}
SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@functools.lru_cache(512)
def icon(name: str, extra: str = "") -> SafeString:
    """The drawing ``name`` of the sprite; hidden from screen readers, so words must stand beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        extra,
        static("vendor/tabler/icons.svg"),
        name or "circle",
    )


def gettext(text: str) -> str:
    """``text`` in the reader's language."""
    return str(translation.gettext(text))


def ngettext(one: str, many: str, number: int) -> str:
    """The form of ``one`` or ``many`` that fits ``number``, in the reader's language."""
    return str(translation.ngettext(one, many, number))


def _chinese() -> bool:
    return (translation.get_language() or "en").startswith("zh")


def label(word: object) -> str:
    """A word of the vocabulary in the reader's language; a kind, phase or part by its name; other text as it is."""
    if isinstance(word, Word):
        return word.zh if _chinese() else word.en
    text = "" if word is None else str(word)
    known = KINDS.get(text.replace("/", "."))
    if known:
        return gettext(known)
    return text.replace("_", " ")


def state_icon(word: object) -> str:
    """The name of the drawing that stands for a word of the vocabulary."""
    return STATE_ICONS.get(type(word).__name__, {}).get(str(word), "circle")


def pill(word: object, extra: str = "") -> SafeString:
    """A state as icon and text on its colour. A plain string shows grey."""
    colour = word.colour if isinstance(word, Word) else "secondary"
    name = state_icon(word)
    turning = "icon-turning" if name == "loader-2" else ""
    return format_html(
        '<span class="pill pill-{} {}" data-state="{}">{}<span>{}</span></span>',
        colour,
        extra,
        str(word),
        icon(name, turning),
        label(word),
    )


def words(noun: str) -> list[Word]:
    """All words of one enumeration (``instance``, ``task``, ``usage`` ...), for the choices of a form."""
    return list(ENUMS[noun])


def _scaled(number: float) -> str:
    unit = 0
    while number >= 1024 and unit < len(SIZES) - 1:
        number, unit = number / 1024, unit + 1
    text = f"{number:.0f}" if unit == 0 or number >= 100 else f"{number:.1f}".removesuffix(".0")
    return f"{text}\u00a0{SIZES[unit]}"


def size(number: object) -> str:
    """Bytes as text, in steps of 1024: ``1.5 GiB``; a dash where the size is not known."""
    try:
        return _scaled(float(str(number)))
    except ValueError:
        return "–"


def percent(part: object, whole: object = 100) -> int:
    """``part`` of ``whole`` in 0..100; 0 where either is not known."""
    try:
        share = float(str(part)) / float(str(whole)) * 100
    except (ValueError, ZeroDivisionError):
        return 0
    return max(0, min(100, round(share)))


def fullness(share: object) -> str:
    """How worrying it is that a store is ``share`` percent full: ``ok``, ``warn`` or ``bad``."""
    level = percent(share)
    return "bad" if level >= 90 else "warn" if level >= 75 else "ok"


def short(text: object, length: int = 12) -> str:
    """The beginning of a digest."""
    return str(text or "")[: int(length)]


def ago(seconds: float) -> str:
    """A time span in the past in words, in one unit."""
    whole = max(0, int(seconds))
    if whole < 5:
        return gettext("just now")
    if whole < 60:
        return ngettext("%(n)d s ago", "%(n)d s ago", whole) % {"n": whole}
    if whole < 3600:
        return ngettext("%(n)d min ago", "%(n)d min ago", whole // 60) % {"n": whole // 60}
    if whole < 86400:
        return ngettext("%(n)d h ago", "%(n)d h ago", whole // 3600) % {"n": whole // 3600}
    return ngettext("%(n)d day ago", "%(n)d days ago", whole // 86400) % {"n": whole // 86400}


def _when(stamp: object) -> dt.datetime | None:
    if isinstance(stamp, int | float):
        return clock.utc(float(stamp))
    if isinstance(stamp, str):
        try:
            stamp = parse_datetime(stamp)
        except ValueError:
            return None
    if not isinstance(stamp, dt.datetime):
        return None
    return stamp if timezone.is_aware(stamp) else stamp.replace(tzinfo=dt.UTC)


def _time(when: dt.datetime) -> SafeString:
    iso = when.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    local = timezone.localtime(when)
    return format_html(
        '<time class="age" datetime="{}" data-at="{}" title="{}">{}</time>',
        iso,
        int(when.timestamp()),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        ago(clock.now() - when.timestamp()),
    )


def age(stamp: object) -> SafeString | str:
    """When something was (RFC 3339 text, datetime or seconds), as a ticking age with the exact time in its title."""
    when = _when(stamp)
    return _time(when) if when else "–"


def moment(stamp: object) -> SafeString | str:
    """When something will be, by the clock."""
    when = _when(stamp)
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), f"{timezone.localtime(when):%Y-%m-%d %H:%M}") if when else "–"


def until(stamp: object) -> SafeString | str:
    """When something ends: the last day when it ends with a day, else the moment."""
    when = _when(stamp)
    local = timezone.localtime(when) if when else None
    if when is None or local is None or (local.hour, local.minute, local.second) != (0, 0, 0):
        return moment(stamp)
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), f"{local - dt.timedelta(days=1):%Y-%m-%d}")


def heard(seconds: object) -> SafeString | str:
    """An age in seconds (``last_heartbeat_age_s``) as a ticking age; ``never`` where there is none."""
    if not isinstance(seconds, int | float):
        return gettext("never")
    return _time(clock.utc(clock.now() - seconds))


def took(start: object, end: object = None) -> str:
    """The time between two stamps (to now without an end): ``0.8 s``, ``42 s``, ``3 min 10 s``."""
    first, last = _when(start), _when(end) or clock.utc()
    if first is None:
        return ""
    seconds = max(0.0, (last - first).total_seconds())
    if seconds < 10:
        return gettext("%(s).1f s") % {"s": seconds}
    if seconds < 60:
        return gettext("%(s)d s") % {"s": int(seconds)}
    return gettext("%(m)d min %(s)d s") % {"m": int(seconds // 60), "s": int(seconds % 60)}


def at_most(number: object, most: int) -> int:
    """The smaller one; ``most`` where there is no number. At least 1, for a form that can ask for nothing less."""
    return max(1, min(number, most)) if isinstance(number, int) else most


def counted_label(name: object) -> str:
    """What a limit counts, in the reader's language."""
    return label(vocabulary.Counted(str(name)))


def get(mapping: object, key: str) -> Any:
    """``mapping[key]``, empty where there is no such key."""
    return mapping.get(key, "") if isinstance(mapping, Mapping) else ""


def first_ip(nics: object) -> str:
    """The address of the first network card that has one."""
    cards: Iterable[Any] = nics if isinstance(nics, list | tuple) else ()
    return next((str(card["ip"]) for card in cards if isinstance(card, Mapping) and card.get("ip")), "")


for _filter in (label, said, state_icon, size, percent, fullness, short, get, first_ip, at_most, counted_label):
    register.filter(_filter)
for _tag in (icon, pill, words, age, moment, until, heard, took):
    register.simple_tag(_tag)
