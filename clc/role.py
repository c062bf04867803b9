"""The root of the tree: it reduces and decides; it has no boss and handles no commands."""

from __future__ import annotations

from clc import reducers
from clc.services import mandates
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import RoleShape, gatherers_of, reducers_of

ROLE = RoleShape(Role.CLC, None, reducers=reducers_of(reducers), gatherers=gatherers_of(reducers), judge=mandates.judge)
