"""A leaf of the tree: it attaches block storage."""

from __future__ import annotations

from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import RoleShape, handlers_of
from sc import handlers

ROLE = RoleShape(Role.SC, Role.CC, handlers=handlers_of(handlers))
