"""The tree as the architecture tests see it: every module of ours, parsed once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("luhyaapi", "luhyadb", "clc", "cc", "nc", "walrus", "sc", "deploy")
ROLES = ("clc", "cc", "nc", "walrus", "sc")


@dataclass(frozen=True)
class Module:
    """One file: ``name`` dotted, ``path`` from the root."""

    name: str
    path: str
    text: str
    tree: ast.Module

    @functools.cached_property
    def imports(self) -> tuple[str, ...]:
        """Dotted names of everything imported, in functions too."""
        return tuple(_imports(self.tree))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


@functools.cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Our modules, migrations left out."""
    found = []
    for folder in folders or FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = file.relative_to(ROOT)
            if "migrations" in path.parts or "vendor" in path.parts:
                continue
            text = file.read_text("utf-8")
            name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
            found.append(Module(name, str(path), text, ast.parse(text)))
    return tuple(found)
