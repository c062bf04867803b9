"""A leaf of the tree: it keeps images."""

from __future__ import annotations

from luhyaapi.command import control
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import RoleShape, handlers_of
from walrus import handlers

ROLE = RoleShape(Role.WALRUS, Role.CLC, handlers=handlers_of(control, handlers))
