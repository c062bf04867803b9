"""Every table has one home and one writer; nobody else changes its rows; pages ask through scope and services."""

from __future__ import annotations

import ast
import functools
import re

from django.apps import apps
from django.db import models

from luhyadb.memory import BOTH
from tests.arch import house

OURS = ("luhyaapi", "luhyadb", "clc", "cc", "nc", "walrus", "sc", "deploy")
WRITES = {
    "create", "bulk_create", "get_or_create", "update_or_create", "update", "bulk_update", "delete", "save",
    "acreate", "aupdate", "adelete", "asave",
}
FURTHER_WRITERS: dict[str, dict[str, str]] = {
    "Account": {"clc.services.directory_people": "accounts of a directory are made and brought up to date as it says"},
    "DirectoryAccount": {"clc.services.directory_links": "somebody here said whether an account is active"},
    "Instance": {"clc.services.instance_reports": "what hosts say of it, beside what people order"},
    "IdempotencyKey": {"clc.web.api.once": "the key is taken and answered around the view, in the view's own request"},
}
"""Table -> module -> why it may write beside the writer the table names."""
QUESTIONS_OF_PAGES: dict[tuple[str, str], str] = {
    ("clc.web.api.once", "IdempotencyKey"): "the asking account's own keys",
    ("clc.web.api.tasks", "Event"): "events of one task the scope has given already",
    ("clc.web.audience", "Event"): "numbers of events; each event passes the scope before it is told",
    ("clc.web.audience", "ScreenTicket"): "a ticket is known by its hash and bound to its account",
    ("clc.web.audience", "Task"): "the owners of tasks under way, to tell each only the own",
    ("clc.web.pages.images", "ImageVersion"): "a filter within images the scope has given",
    ("clc.web.pages.instances", "ImageVersion"): "a filter within images the scope has given",
    ("clc.web.pages.overview", "Host"): "the administrator's overview",
    ("clc.web.pages.overview", "Instance"): "sums for the administrator's overview",
    ("clc.web.pages.words", "Task"): "the state of tasks named by rows the scope has given",
}
"""(web module, table) that may use ``Model.objects``, with the reason."""


def _tables() -> dict[str, type[models.Model]]:
    return {m.__name__: m for m in apps.get_app_config("luhyadb").get_models()}


def _writer(model: type[models.Model]) -> str:
    found = re.search(r"Writer: ([a-z_.]+[a-z_])", model.__doc__ or "")
    return found.group(1) if found else ""


def test_every_table_names_a_writer_that_exists() -> None:
    names = {m.name for m in house.modules()}
    assert {t: w for t, m in _tables().items() if (w := _writer(m)) not in names} == {}


def test_every_table_has_a_home_with_its_writer() -> None:
    for name, model in _tables().items():
        home = model.home
        assert home in ("clc", "cc", BOTH), name
        writer = _writer(model).split(".")[0]
        assert writer == ("luhyadb" if home == BOTH else home), f"{name} lives at {home} and is written by {writer}"


def test_no_foreign_key_crosses_homes() -> None:
    for name, model in _tables().items():
        for field in model._meta.get_fields():
            if field.is_relation and field.concrete and field.related_model and hasattr(field.related_model, "home"):
                assert field.related_model.home == model.home, f"{name}.{field.name}"


def _table_of(node: ast.AST, rows: dict[str, str]) -> str:
    """The table a call chain starts from: ``Task.objects.filter(...)``, or a name bound to such a chain."""
    while True:
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Attribute):
            if node.attr in ("objects", "_default_manager") and isinstance(node.value, ast.Name):
                return node.value.id
            node = node.value
        elif isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Name):
            return rows.get(node.id, "")
        else:
            return ""


def _annotated(function: ast.AST) -> dict[str, str]:
    """Parameters whose annotation is a table."""
    args = getattr(function, "args", None)
    if args is None:
        return {}
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return {a.arg: ast.unparse(a.annotation).removesuffix(" | None") for a in named if a.annotation is not None}


@functools.cache
def _written() -> tuple[tuple[house.Module, str, int], ...]:
    """Every change of a row in our code: module, table, line."""
    tables = set(_tables())
    return tuple((m, table, line) for m in house.modules() for table, line in sorted(writes(m.tree, tables)))


def writes(tree: ast.Module, tables: set[str]) -> set[tuple[str, int]]:
    """(table, line) of each call that changes rows, as far as names and annotations tell."""
    found = set()
    scopes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for scope in [*scopes, tree]:
        rows = {n: t for n, t in _annotated(scope).items() if t in tables}
        for node in ast.walk(scope):
            target = None
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                target, value = node.targets[0].id, node.value
            elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
                target, value = node.target.id, node.iter
            if target and (table := _table_of(value, rows)) in tables:
                rows[target] = table
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
                table = _table_of(node.func.value, rows)
                if table in tables:
                    found.add((table, node.lineno))
    return found


def test_the_scan_sees_a_write() -> None:
    """The judge itself: each way of writing is found, reading is not."""
    code = """
def a(row: Task):
    row.save()
def b():
    row = Task.objects.filter(pk=1).first()
    row.delete()
def c():
    for row in Task.objects.all():
        row.update(x=1)
def d():
    Task.objects.filter(pk=1).exclude(x=2).update(x=1)
    return Task.objects.get(pk=1), set().update({1})
"""
    assert {line for _, line in writes(ast.parse(code), {"Task"})} == {3, 6, 9, 11}


def test_only_the_writer_changes_a_table() -> None:
    tables = _tables()
    wrong = []
    for module, table, line in _written():
        if module.name != _writer(tables[table]) and module.name not in FURTHER_WRITERS.get(table, {}):
            wrong.append(f"{module.path}:{line} changes {table}, which {_writer(tables[table])} writes")
    assert wrong == []


def test_no_exception_outlives_its_reason() -> None:
    real = {(table, module.name) for module, table, _ in _written()}
    assert {(t, n) for t, names in FURTHER_WRITERS.items() for n in names} - real == set()
    asking = {(m.name, table) for m in house.modules("clc") if m.name.startswith("clc.web") for table in _asked(m)}
    assert set(QUESTIONS_OF_PAGES) - asking == set()


def _asked(module: house.Module) -> set[str]:
    return {
        ast.unparse(n.value) for n in ast.walk(module.tree)
        if isinstance(n, ast.Attribute) and n.attr in ("objects", "_default_manager")
    }


def test_pages_ask_through_scope_and_services() -> None:
    past = {
        (m.name, table) for m in house.modules("clc") if m.name.startswith("clc.web") for table in _asked(m)
    }
    assert past - set(QUESTIONS_OF_PAGES) == set(), "use luhyadb.scope or a service"


def test_only_the_sealer_numbers_events_and_only_retention_removes_them() -> None:
    found = {
        (m.name, call.func.attr) for m in house.modules() for call in ast.walk(m.tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "events" and call.func.attr in ("number", "remove")
    }
    assert found == {("clc.services.audit", "number"), ("clc.services.audit", "remove")}
    assert {n.name for n in house.modules() if "Chain" in _asked(n)} == {"clc.services.audit"}
