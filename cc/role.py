"""The middle of the tree: handles the CLC's orders, commands nodes and storage, reduces and passes up their reports."""

from __future__ import annotations

from cc import handlers, reducers
from cc.services import mandates
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import RoleShape, gatherers_of, handlers_of, reducers_of

ROLE = RoleShape(
    Role.CC, Role.CLC, handlers=handlers_of(handlers), reducers=reducers_of(reducers), gatherers=gatherers_of(reducers),
    judge=mandates.judge,
)
