"""A machine that is gone for good, by an administrator's word: what was placed there has no place, and nothing waits for it."""

from __future__ import annotations

from cc.services import children, flows, placements, pool
from cc.services.office import Office
from luhyaapi import log
from luhyadb import memory
from luhyadb.models import Placement

_log = log.get(__name__)


def host_lost(office: Office, host: str) -> None:
    """Forget a child, end the flows of what was placed there, and give back what was lent to it. Again: nothing is left to do."""
    # first, so that a machine which is not gone after all says nothing more
    children.forget(office, host)
    office.lost.add(host)
    with memory.atomic():
        pool.alone()
        given_up = list(Placement.objects.filter(node=host).values_list("pk", flat=True))
        for instance in given_up:
            flows.lose(office, instance, host)
            placements.release(office, instance, "")
        children.delete(host)
    _log.warning("a host is lost, and what was placed there", host=host, instances=len(given_up))
