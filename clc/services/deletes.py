"""Deletes that came to nothing are given again, until they succeed."""

from __future__ import annotations

from django.db.models import Q

from clc.services import instances, tasks
from luhyaapi import clock, log
from luhyaapi.contracts.vocabulary import HostState, InstanceState
from luhyaapi.errors import Trouble
from luhyadb import memory
from luhyadb.models import Host, Instance

_AGAIN_S = 60.0
_log = log.get(__name__)


def again() -> int:
    """Deletes that failed and whose host is there are given once more; how many were."""
    before = clock.now() - _AGAIN_S
    halfway = Instance.objects.filter(wanted=InstanceState.DELETED, changed_at__lt=before).exclude(state=InstanceState.DELETED)
    there = Host.objects.filter(state__in=[HostState.UP, HostState.DRAINING]).values("pk")
    away = Host.objects.filter(state__in=[HostState.SILENT, HostState.DOWN]).values("pk")
    # a node that was removed in the same moment as something was placed there is heard by its cluster still
    rows = [row for row in halfway.filter(Q(node__in=there) | Q(cluster__in=there)).exclude(node__in=away) if not tasks.is_open(row.task)]
    return sum(_again(row) for row in rows)


def _again(row: Instance) -> bool:
    try:
        with memory.atomic():
            instances.end(row)
    except Trouble as e:
        # one that cannot go now holds up nobody else
        _log.warning("a delete cannot be given again", instance=row.pk, why=str(e))
        return False
    return True
