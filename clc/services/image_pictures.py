"""How images look to the outside, and which host has which version: what the store knows, and what hosts last told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import prefetch_related_objects

from clc.services import image_uses
from clc.services import retention as rules
from clc.services.image_uses import Use
from clc.services.images import memory_mib
from clc.services.pictures import MIB, Picture, board, when
from clc.services.retention import Verdict
from luhyaapi.contracts.specs import Hardware
from luhyaapi.contracts.vocabulary import HostState, ImageState, InstanceState, Part, Role
from luhyadb.models import Comparison, Host, Image, ImageVersion, Upload


def images(rows: Iterable[Image]) -> list[Picture]:
    """Pictures of many images, with one look at the board."""
    known = list(rows)
    prefetch_related_objects(known, "versions__parent__image", "versions__instance_set", "owner", "group")
    caches = _caches()
    return [_image(r, caches) for r in known]


def image(row: Image) -> Picture:
    """One image. ``cached_on`` lists the hosts that hold all files of its newest published version."""
    return images([row])[0]


def versions(rows: Iterable[ImageVersion]) -> list[Picture]:
    """Pictures of many versions, with one look at the board."""
    known, caches = list(rows), _caches()
    prefetch_related_objects(known, "parent__image", "instance_set")
    return [_version(r, caches) for r in known]


def _caches() -> list[Picture]:
    """The clusters and nodes, each with the files it told of: ``blobs`` are whole, ``halves`` the bytes that came of others."""
    rows = Host.objects.filter(role__in=[Role.CC, Role.NC]).exclude(state=HostState.RETIRED).order_by("role", "name", "pk")
    known = list(rows.values_list("pk", "name", "role"))
    told = board().read([f"host:{pk}" for pk, _, _ in known])
    return [
        {"host": pk, "host_name": name, "role": role, "blobs": set(facts.get("blobs") or ()),
         "halves": {half["sha256"]: half["size"] for half in facts.get("halves") or ()}}
        for pk, name, role in known if (facts := told.get(f"host:{pk}"))
    ]


def _image(row: Image, caches: Iterable[Picture]) -> Picture:
    listed = sorted(row.versions.all(), key=lambda v: v.version)
    published = [v for v in listed if v.state == ImageState.PUBLISHED]
    newest = published[-1] if published else listed[-1] if listed else None
    state = ImageState.RETIRED if row.retired else newest.state if newest else ImageState.DRAFT
    return {
        "id": row.pk, "name": row.name, "usage": str(row.usage), "state": str(state), "description": row.description,
        "os_type": row.os_type, "os_distro": row.os_distro, "architecture": str(row.architecture), "owner_group": row.group.path,
        "owner": row.owner.username, "versions": [_version(v, caches) for v in listed],
        "memory_bytes": memory_mib(newest.blobs if newest else []) * MIB,
        "cached_on": sorted(h["host"] for h in _cached(newest, caches) if h["whole"]) if newest else [], "created_at": when(row.created_at),
        "published_at": when(newest.published_at if newest else 0),
    }


def _version(row: ImageVersion, caches: Iterable[Picture]) -> Picture:
    """One version of an image; ``sha256`` and ``format`` are those of its disk, else of its kernel.

    ``size_bytes`` counts no holes, ``added_bytes`` what the store grew by.
    """
    came = {p["part"]: p for p in row.parts}
    first: Mapping[str, Any] = min(row.blobs, key=lambda b: list(Part).index(Part(b["part"])), default={})
    return {
        "version": row.version, "state": str(row.state), "sha256": first.get("sha256", ""),
        "size_bytes": sum(_filled(b, came) for b in row.blobs), "added_bytes": sum(int(p["added"]) for p in row.parts),
        "virtual_size_bytes": int(first.get("virtual_size") or 0),
        "format": str(first.get("format", "")), "cmdline": row.cmdline, "why": row.why, "task": row.task or None,
        "hardware": Hardware(**row.hardware).model_dump(mode="json"), "pinned": row.pinned, "published_at": when(row.published_at),
        "note": row.note, "parent": f"{row.parent.image.name}:{row.parent.version}" if row.parent else None,
        "instances": sum(i.state != InstanceState.DELETED for i in row.instance_set.all()),
        "created_at": when(row.created_at), "cached_on": _cached(row, caches),
        "parts": [
            {"part": str(b["part"]), "sha256": b["sha256"], "size_bytes": _filled(b, came), "uploaded": _uploaded(came.get(b["part"])),
             "virtual_size_bytes": int(b.get("virtual_size") or 0), "format": str(b.get("format", ""))} for b in row.blobs
        ],
    }


def _filled(blob: Mapping[str, Any], came: Mapping[str, Any]) -> int:
    return int(came[blob["part"]]["filled"] if blob["part"] in came else blob["size"])


def _uploaded(part: Mapping[str, Any] | None) -> Picture | None:
    """The file as it was sent."""
    return {"sha256": part["sha256"], "size_bytes": int(part["size"]), "was": list(part["was"])} if part and part["sha256"] else None


def _cached(row: ImageVersion, caches: Iterable[Picture]) -> list[Picture]:
    """The hosts that have something of a version, clusters first; its holes are not counted."""
    came = {p["part"]: p for p in row.parts}
    sizes = {b["sha256"]: _filled(b, came) for b in row.blobs}
    found = []
    for each in caches:
        done = sum(size if s in each["blobs"] else min(int(each["halves"].get(s, 0)), size) for s, size in sizes.items())
        total = sum(sizes.values())
        # bytes that all came are a whole file a moment before their host says so
        whole = bool(sizes) and (sizes.keys() <= each["blobs"] or 0 < total <= done)
        if whole or done:
            found.append({
                "host": each["host"], "host_name": each["host_name"], "role": each["role"], "whole": whole,
                "bytes_done": done, "bytes_total": total,
            })
    return found


def retention(row: Image, keep: int | None = None, went: Iterable[Verdict] = ()) -> Picture:
    """Which versions the rule of an image keeps, or would with another number of versions to ``keep``; ``went``: what it let go just now."""
    return {
        "keep": rules.kept(row) if keep is None else keep, "is_default": row.keep_versions is None,
        "versions": [_verdict(v) for v in rules.judged(row, keep)], "went": [_verdict(v) for v in went],
    }


def _verdict(verdict: Verdict) -> Picture:
    return {"version": verdict.version.version, "goes": verdict.goes, "because": verdict.because, "used_by": _uses(verdict.uses)}


def uses(row: Image) -> list[Picture]:
    """Who needs which version of an image, oldest first."""
    listed = list(row.versions.order_by("version"))
    found = image_uses.of(listed)
    return [{"version": v.version, "state": str(v.state), "used_by": _uses(found.get(v.pk, []))} for v in listed]


def _uses(found: Iterable[Use]) -> list[Picture]:
    return [{"kind": use.kind, "id": use.id, "name": use.name} for use in found]


def difference(row: Comparison) -> Picture:
    """What two versions share; ``bytes`` of blocks that are no holes, each counted once."""
    return {"one": row.one.version, "other": row.other.version, **{
        name: {"blocks": int(of["blocks"]), "bytes": int(of["bytes"])} for name, of in (row.difference or {}).items()
    }}


def upload(row: Upload, received: Mapping[str, int]) -> Picture:
    """An upload under way; ``received`` says what the store has of each part, in bytes."""
    return {
        "id": row.pk, "image": row.version.image.name, "image_id": row.version.image_id, "version": row.version.version,
        "state": str(row.version.state), "created_at": when(row.created_at),
        "parts": [{"part": str(p["part"]), "size_bytes": int(p["size"]), "received_bytes": received.get(p["part"], 0),
                   "format": str(p["format"] or "")} for p in row.parts],
    }
