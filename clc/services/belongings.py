"""What somebody owns: looked at by kind, given to another person, checked against that person's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet, Sum

from clc.services import (
    elastic,
    image_uses,
    images,
    instances,
    queue,
    quotas,
    reservations,
    security_groups,
    tasks,
    uploads,
    workspaces,
)
from luhyaapi.contracts.vocabulary import Counted, ImageState, InstanceState
from luhyaapi.machines import WORKSPACE
from luhyadb.models import (
    Account,
    ElasticAddress,
    Grant,
    Image,
    ImageVersion,
    Instance,
    Reservation,
    SecurityGroup,
    Share,
    Upload,
    Workspace,
)

NAMED_AT_MOST = 10
_HANDED_OVER_BY = (
    instances.hand_over, workspaces.hand_over, images.hand_over, uploads.hand_over, security_groups.hand_over, elastic.hand_over, reservations.hand_over,
    queue.hand_over, tasks.hand_over,
)


@dataclass(frozen=True)
class Pile:
    """All of one kind that somebody owns; ``ends``: it is nobody's when its owner is no more, so it holds nothing up."""

    kind: str
    count: int
    names: tuple[str, ...]
    ends: bool


def of(account: Account) -> list[Pile]:
    """What there is of somebody's, by kind; kinds of which there is nothing are left out."""
    kinds: tuple[tuple[str, QuerySet[Any], str, bool], ...] = (
        ("instances", live_instances(account), "name", False), ("workspaces", open_workspaces(account), "name", False),
        ("images", live_images(account), "name", False), ("uploads", open_uploads(account), "version__image__name", False),
        ("addresses", ElasticAddress.objects.filter(owner=account, retired_at=0), "address", True),
        ("security_groups", SecurityGroup.objects.filter(owner=account), "name", True),
        ("reservations", Reservation.objects.filter(owner=account), "address", True),
        ("grants", Grant.objects.filter(account=account), "role", True), ("shares", Share.objects.filter(account=account), "subject", True),
    )
    piles = []
    for kind, rows, name, ends in kinds:
        if count := rows.count():
            found = rows.values_list(name, "pk")[:NAMED_AT_MOST]
            piles.append(Pile(kind, count, tuple(str(called) if ends else f"{called} ({pk})" for called, pk in found), ends))
    return piles


def live_instances(account: Account) -> QuerySet[Instance]:
    """Those that are not deleted."""
    return Instance.objects.filter(owner=account).exclude(state=InstanceState.DELETED).order_by("created_at", "pk")


def open_workspaces(account: Account) -> QuerySet[Workspace]:
    """Those in which work goes on."""
    return Workspace.objects.filter(owner=account).exclude(state__in=WORKSPACE.final).order_by("created_at", "pk")


def live_images(account: Account) -> QuerySet[Image]:
    """Those that are not retired."""
    return Image.objects.filter(owner=account, retired=False).order_by("name", "pk")


def open_uploads(account: Account) -> QuerySet[Upload]:
    """Those whose bytes are not all there."""
    return Upload.objects.filter(account=account, version__state=ImageState.DRAFT).order_by("created_at", "pk")


def needed_by_others(account: Account) -> list[str]:
    """The images of somebody that cannot be deleted with everything else, for others use them."""
    mine = set(live_instances(account).values_list("pk", flat=True)) | set(open_workspaces(account).values_list("pk", flat=True))
    versions = {v.pk: v for v in ImageVersion.objects.filter(image__in=live_images(account)).select_related("image")}
    drafts = {f"{v.image.name}:{v.version}" for v in versions.values()}
    used = image_uses.of(list(versions.values()))
    return sorted({versions[key].image.name for key, uses in used.items() if any(use.id not in mine | drafts for use in uses)})


def check_limits(of_: Account, to: Account) -> None:
    """Whether ``to`` may have all that is another's as well. What is given stays in its group, so limits of groups count it already.

    Only public addresses are counted where their owner is. In a transaction. Raises Refused(quota).
    """
    sums = live_instances(of_).order_by().aggregate(cpus=Sum("cpus"), memory=Sum("memory_mib"), disk=Sum("data_disk_mib"))
    addresses = ElasticAddress.objects.filter(owner=of_, retired_at=0).count()
    more = {
        Counted.INSTANCES: live_instances(of_).count(), Counted.CPUS: sums["cpus"] or 0, Counted.MEMORY: sums["memory"] or 0,
        Counted.DISK: sums["disk"] or 0, Counted.IMAGES: live_images(of_).count(), Counted.ADDRESSES: addresses,
    }
    quotas.check(to, "", more)
    if to.group_id != of_.group_id:
        quotas.check(to, to.group_id, {Counted.ADDRESSES: addresses}, but_of=of_.group_id)
    elastic.check_share(to, addresses)


def give(of_: Account, to: Account) -> None:
    """All of it is another's from now on. In a transaction, in which limits were checked."""
    for each in _HANDED_OVER_BY:
        each(of_, to)
