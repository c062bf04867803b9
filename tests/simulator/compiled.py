"""What Django makes of one shape of a question: its SQL, which value each parameter is, and what makes rows of what is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Exists, Q
from django.db.models.query import (
    MAX_GET_RESULTS,
    FlatValuesListIterable,
    ModelIterable,
    QuerySet,
    ValuesIterable,
    ValuesListIterable,
    get_related_populators,
)
from django.db.models.sql import InsertQuery, UpdateQuery

Kind = str | tuple[Any, ...]
"""What was given for a key: one letter for each value (text, integer, real), in brackets for a list; or a constant; or a question."""
Spec = tuple[tuple[Any, ...], ...]
"""Conditions: each a key with its kind, or what was put together of such."""
_TAGS: dict[str, Callable[[int], Any]] = {"t": "\x01{}\x01".format, "i": lambda n: 10**12 + 1000 * n, "r": lambda n: 10.0**12 + 1000 * n + 0.5}
CONSTANTS = {"None": None, "True": True, "False": False}


class NotSoError(Exception):
    """It cannot be prepared."""


@dataclass(frozen=True)
class Statement:
    """``sources`` says of each parameter which value it is and what makes it of that, or which constant."""

    sql: str
    sources: tuple[tuple[int, Any], ...]
    decode: Callable[[Any, str, list[Any]], list[Any]] | None = None

    def parameters(self, given: tuple[Any, ...]) -> list[Any]:
        """Of these values."""
        return [made if n < 0 else given[n] if made is None else made(given[n]) for n, made in self.sources]


def replay(asking: Any, values: tuple[Any, ...]) -> QuerySet:
    """The question as Django's own, with these values."""
    real = _asked_again(QuerySet(asking.model, using=asking._db, hints=asking._hints), asking._asked, list(values))
    real._for_write = asking._for_write
    return real


def _asked_again(real: QuerySet, asked: Any, left: list[Any]) -> QuerySet:
    for verb, spec in asked:
        if verb in ("filter", "exclude"):
            real = getattr(real, verb)(*(_condition(each, left) for each in spec))
        elif verb == "values_list":
            real = real.values_list(*spec[0], flat=spec[1])
        elif verb == "__getitem__":
            real = real[slice(*spec)]
        else:
            real = getattr(real, verb)(*spec)
    return real


def _condition(each: tuple[Any, ...], left: list[Any]) -> Any:
    if each[0]:
        return Q((each[0], _take(each[1], left)))
    if each[1] == "exists":
        return Exists(_asked_again(QuerySet(each[2]), each[3], left))
    _, _, connector, negated, inner = each
    made = Q(_connector=connector, _negated=negated)
    made.children = [(c[0], _take(c[1], left)) if c[0] else _condition(c, left) for c in inner]
    return made


def _take(kind: Kind, left: list[Any]) -> Any:
    if isinstance(kind, tuple):
        return _asked_again(QuerySet(kind[0]), kind[1], left)
    if kind in CONSTANTS:
        return CONSTANTS[kind]
    if kind.startswith("["):
        return [left.pop(0) for _ in kind[1:-1]]
    return left.pop(0)


def _letters_of(asked: Any) -> str:
    """Of all values of a question, in order."""
    return "".join(_letters_in(each) for verb, spec in asked if verb in ("filter", "exclude") for each in spec)


def _letters_in(each: tuple[Any, ...]) -> str:
    if not each[0]:
        return _letters_of(each[3]) if each[1] == "exists" else "".join(map(_letters_in, each[4]))
    if isinstance(each[1], tuple):
        return _letters_of(each[1][1])
    return "" if each[1] in CONSTANTS else str(each[1]).strip("[]")


def _tagged(asking: Any) -> tuple[QuerySet, list[Any]]:
    """The question with values that are known again among the parameters."""
    tags = [_TAGS[letter](n) for n, letter in enumerate(_letters_of(asking._asked))]
    return replay(asking, tuple(tags)), tags


def _sources(parameters: Any, tags: list[Any]) -> tuple[tuple[int, Any], ...]:
    """Which value each parameter is. Raises NotSoError when a value is none of them."""
    found: list[tuple[int, Any]] = []
    for each in parameters:
        same = [n for n, tag in enumerate(tags) if type(tag) is type(each) and tag == each]
        made = [(n, kind) for n, tag in enumerate(tags) for kind in (str, float) if type(each) is kind and _is_made(tag, kind, each)]
        found.append((same[0], None) if same else made[0] if made else (-1, each))
    if {n for n, _ in found if n >= 0} != set(range(len(tags))):
        raise NotSoError
    return tuple(found)


def _is_made(tag: Any, kind: Any, each: Any) -> bool:
    with suppress(ValueError):
        return bool(kind(tag) == each)
    return False


def select(asking: Any, db: str, how: str) -> Statement:
    real, tags = _tagged(asking)
    if how == "count":
        return _counting(real, db, tags)
    if how == "first" and not real.ordered:
        real = real.order_by("pk")
    elif how == "get":
        real = real.order_by()
    if how in ("first", "get"):
        real.query.set_limits(high=1 if how == "first" else MAX_GET_RESULTS)
    compiler = (real.query.exists() if how == "exists" else real.query).get_compiler(db)
    sql, parameters = compiler.as_sql()
    return Statement(_asked_raw(sql), _sources(parameters, tags), None if how == "exists" else _decoder(real, compiler))


def _asked_raw(sql: str) -> str:
    """As SQLite itself takes it: what only reads goes straight to it, for nobody dies while reading."""
    return sql.replace("%s", "?").replace("%%", "%")


def _counting(real: QuerySet, db: str, tags: list[Any]) -> Statement:
    heard: list[tuple[str, Any]] = []

    def listen(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        heard.append((sql, parameters))
        return execute(sql, parameters, many, context)

    with connections[db].execute_wrapper(listen):
        real.count()
    if len(heard) != 1:
        raise NotSoError
    return Statement(_asked_raw(heard[0][0]), _sources(heard[0][1], tags))


def _decoder(real: QuerySet, compiler: Any) -> Callable[[Any, str, list[Any]], list[Any]]:
    """What makes rows what the question asked for."""
    columns = [s[0] for s in compiler.select[: compiler.col_count]]
    converters = list(compiler.get_converters(columns).items())
    kind = real._iterable_class
    if kind not in _MAKERS or compiler.has_composite_fields(columns):
        raise NotSoError
    if compiler.annotation_col_map and kind in (ModelIterable, ValuesIterable):
        raise NotSoError
    make = _MAKERS[kind](real, compiler)

    def decode(connection: Any, db: str, rows: list[Any]) -> list[Any]:
        if converters:
            rows = [_converted(connection, row, converters) for row in rows]
        return make(db, rows)

    return decode


Make = Callable[[str, list[Any]], list[Any]]


def _of_models(real: QuerySet, compiler: Any) -> Make:
    model, info, select = real.model, compiler.klass_info, compiler.select
    start, end = info["select_fields"][0], info["select_fields"][-1] + 1
    names = [f[0].target.attname for f in select[start:end]]
    related: dict[str, list[Any]] = {}

    def make(db: str, rows: list[Any]) -> list[Any]:
        if db not in related:
            related[db] = get_related_populators(info, select, db)
        made = [model.from_db(db, names, row[start:end]) for row in rows]
        for populator in related[db]:
            for row, one in zip(rows, made, strict=True):
                populator.populate(row, one)
        return made

    return make


def _of_values(real: QuerySet, _compiler: Any) -> Make:
    names = real.query.values_select
    return lambda _db, rows: [dict(zip(names, row, strict=True)) for row in rows]


_MAKERS: dict[Any, Callable[[QuerySet, Any], Make]] = {
    ModelIterable: _of_models, ValuesIterable: _of_values,
    FlatValuesListIterable: lambda _real, _compiler: lambda _db, rows: [row[0] for row in rows],
    ValuesListIterable: lambda _real, _compiler: lambda _db, rows: [tuple(row) for row in rows],
}


def _converted(connection: Any, row: Any, converters: list[Any]) -> list[Any]:
    made = list(row)
    for n, (chain, column) in converters:
        for convert in chain:
            made[n] = convert(made[n], column, connection)
    return made


def updating(asking: Any, db: str, fields: list[tuple[Any, Any]], set_to: list[Any]) -> Statement:
    real, tags = _tagged(asking)
    query = real.query.chain(UpdateQuery)
    query.add_update_fields([(f, None, v) for f, v in fields])
    query.annotations = {}
    query.clear_select_clause()
    sql, parameters = query.get_compiler(db).as_sql()
    if query.related_updates or "SELECT" in sql or list(parameters[: len(set_to)]) != set_to:
        raise NotSoError
    return Statement(sql, _sources(parameters[len(set_to):], tags))


def inserting(model: Any, db: str, one: Any, fields: Any, returning: Any, values: list[Any]) -> Statement:
    query = InsertQuery(model)
    query.insert_values(fields, [one])
    compiler = query.get_compiler(using=db)
    compiler.returning_fields = returning
    statements = compiler.as_sql()
    if len(statements) != 1 or list(statements[0][1]) != values or compiler.returning_params:
        raise NotSoError
    if compiler.get_converters([f.get_col(model._meta.db_table) for f in returning or ()]):
        raise NotSoError
    return Statement(statements[0][0], ())
