"""Every role folder has the same shape; every order has one handler in each receiver; modules stay small and well named."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib

import pytest

from luhyaapi.contracts.commands import COMMANDS
from luhyaapi.contracts.reports import REPORTS, HostsFacts, MachineFacts, MachinesFacts
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.role import RoleShape
from luhyaapi.wire.topology import CONTROL, ROUTES, boss_of
from tests.arch import house

ACTING = ("cc", "nc", "walrus", "sc")
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "stuff", "lib", "tmp", "new", "old"}
MAX_LINES = 500


def _shape(role: str) -> RoleShape:
    shape: RoleShape = importlib.import_module(f"{role}.role").ROLE
    return shape


@pytest.mark.parametrize("role", house.ROLES)
def test_a_role_folder_has_the_files_of_every_role(role: str) -> None:
    there = {m.name for m in house.modules(role)}
    wanted = {f"{role}.role", f"{role}.beat", f"{role}.services", f"{role}.services.office"}
    wanted |= {f"{role}.handlers", f"{role}.door"} if role in ACTING else {f"{role}.urls", f"{role}.web"}
    wanted |= {f"{role}.reducers"} if role in ("clc", "cc") else set()
    assert wanted <= there, f"missing: {sorted(wanted - there)}"
    if role in ("nc", "walrus", "sc"):
        assert f"{role}.reducers" not in there, "nobody reports to a leaf"


@pytest.mark.parametrize("role", house.ROLES)
def test_a_shape_names_its_role_and_its_boss(role: str) -> None:
    shape = _shape(role)
    assert shape.name is Role(role)
    assert shape.boss is boss_of(Role(role))


def test_the_routes_are_a_tree() -> None:
    children = [child for _, child in ROUTES]
    assert len(children) == len(set(children))
    assert set(children) == set(Role) - {Role.CLC}


@pytest.mark.parametrize("role", house.ROLES)
def test_a_role_handles_exactly_the_orders_that_name_it(role: str) -> None:
    named = {k for k, c in COMMANDS.items() if Role(role) in (c.to if isinstance(c.to, tuple) else (c.to,))}
    assert set(_shape(role).handlers) == named


def test_every_report_is_reduced_at_the_top() -> None:
    shape = _shape("clc")
    opened_or_below = {HostsFacts.kind, MachineFacts.kind, MachinesFacts.kind}
    assert set(shape.reducers) | set(shape.gatherers) | opened_or_below == set(REPORTS), "heartbeats are opened by the relay, machines end at their cluster"
    assert not set(shape.reducers) & set(shape.gatherers)


@pytest.mark.parametrize("role", house.ROLES)
def test_two_handlers_for_one_order_cannot_hide(role: str) -> None:
    marked: dict[str, list[str]] = {}
    for module in house.modules(role):
        for node in ast.walk(module.tree):
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") in ("handles", "reduces"):
                    marked.setdefault(f"{mark.func.id} {ast.unparse(mark.args[0])}", []).append(module.name)
    assert {k: v for k, v in marked.items() if len(v) > 1} == {}


def test_control_orders_exist() -> None:
    assert set(COMMANDS) >= CONTROL


def test_no_module_is_a_drawer() -> None:
    assert [m.name for m in house.modules() if set(m.name.split(".")[1:]) & BANNED] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [m.path for m in house.modules() if m.text.strip() and not ast.get_docstring(m.tree)]
    assert silent == []


def test_modules_stay_small() -> None:
    long = {m.name: n for m in house.modules() if (n := m.text.count("\n")) > MAX_LINES}
    assert long == {}


def test_nothing_is_mocked() -> None:
    word = "unittest" + ".mock"
    users = [str(f.relative_to(house.ROOT)) for f in (house.ROOT / "tests").rglob("*.py") if word in f.read_text("utf-8")]
    users += [m.path for m in house.modules() if word in m.text]
    assert users == []


def test_acting_roles_start_without_django() -> None:
    """What is imported in a process of its own, since this one may hold Django already."""
    code = (
        "import sys, nc.role, nc.beat, nc.door, walrus.role, walrus.beat, walrus.door, sc.role, sc.beat, sc.door;"
        "print([m for m in sys.modules if m.split('.')[0] in ('django', 'luhyadb', 'rest_framework')][:3])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=house.ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


def test_ruff_bans_what_has_a_door_of_its_own() -> None:
    lint = tomllib.loads((house.ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    banned = set(lint["flake8-tidy-imports"]["banned-api"])
    assert {"time.sleep", "time.time", "datetime.datetime.now", "os.environ", "subprocess"} <= banned
    assert "TID251" not in lint["ignore"]
    free = {p for p, rules in lint["per-file-ignores"].items() if "TID251" in rules}
    assert free == {"luhyaapi/{clock,conf,process}.py", "{tests,bench}/**", "deploy/**"}


def test_the_ban_is_alive() -> None:
    ruff = [str(house.ROOT / ".venv/bin/ruff")] if (house.ROOT / ".venv/bin/ruff").exists() else [sys.executable, "-m", "ruff"]
    found = subprocess.run(
        [*ruff, "check", "--no-cache", "--output-format", "concise", "--stdin-filename", "cc/services/x.py", "-"],
        input='"""X."""\nimport subprocess\nimport time\ntime.sleep(1)\n', cwd=house.ROOT, capture_output=True, text=True,
        check=False, timeout=60,
    )
    assert len(re.findall("TID251", found.stdout)) == 2, found.stdout + found.stderr
