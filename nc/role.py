"""A leaf of the tree: it acts, here and now, on one node."""

from __future__ import annotations

from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import RoleShape, handlers_of
from nc.handlers import host, images, instances

ROLE = RoleShape(Role.NC, Role.CC, handlers=handlers_of(host, images, instances))
