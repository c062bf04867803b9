"""The root of the tree: it reduces and decides; it has no boss and handles no commands."""

from __future__ import annotations

import functools
from collections.abc import Callable

from clc import reducers
from clc.services import mandates, origins
from luhyaapi.contracts.base import Envelope, Report
from luhyaapi.contracts.vocabulary import Role, Via
from luhyaapi.role import RoleShape, gatherers_of, reducers_of


def _told_by_its_sender(reducer: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(reducer)
    def reduce(services: object, envelope: Envelope, report: Report) -> None:
        with origins.of(origins.Origin(Via.HOST, envelope.sender)):
            reducer(services, envelope, report)

    return reduce


_REDUCERS = {kind: _told_by_its_sender(each) for kind, each in reducers_of(reducers).items()}
ROLE = RoleShape(Role.CLC, None, reducers=_REDUCERS, gatherers=gatherers_of(reducers), judge=mandates.judge)
