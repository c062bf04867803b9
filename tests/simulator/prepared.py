"""Django's SQL compiled once for each shape of a question and kept: the same SQL and the same rows, in a fraction of the time.

Only the simulator uses it, and not for every seed. A question is written down as it is asked; at its end its shape is looked
up. What cannot be written down so is asked Django's own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import connections, transaction
from django.db.models import Manager, Model
from django.db.models.query import MAX_GET_RESULTS, FlatValuesListIterable, QuerySet, ValuesListIterable
from django.db.models.sql import InsertQuery, UpdateQuery

Spec = tuple[tuple[str, str], ...]
"""Each key with what was given for it: one letter for each value (text, integer, real), in brackets for a list; or a constant."""
_LETTERS = {str: "t", int: "i", float: "r"}
_TAGS: dict[str, Callable[[int], Any]] = {"t": "\x01{}\x01".format, "i": lambda n: 10**12 + 1000 * n, "r": lambda n: 10.0**12 + 1000 * n + 0.5}
_CONSTANTS = {"None": None, "True": True, "False": False}


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


_statements: dict[Any, Statement | None] = {}


@contextmanager
def installed() -> Iterator[None]:
    """Every manager asks so while this is open."""
    before = Manager._queryset_class
    Manager._queryset_class = Asking
    try:
        yield
    finally:
        Manager._queryset_class = before


class Asking(QuerySet):
    """``_asked`` is the shape of the question, None once it is Django's own; ``_given`` are its values in order."""

    def __init__(self, model: Any = None, query: Any = None, using: Any = None, hints: Any = None) -> None:
        super().__init__(model, query or _NO_QUERY, using, hints)
        self._asked: tuple[Any, ...] | None = None if query else ()
        self._given: tuple[Any, ...] = ()
        if not query:
            self._query = None

    @property
    def query(self) -> Any:
        if self._query is None:
            real = _replay(self, self._given)
            self._query, self._iterable_class, self._fields, self._asked = real._query, real._iterable_class, real._fields, None
        return QuerySet.query.fget(self)

    @query.setter
    def query(self, value: Any) -> None:
        self._asked = None
        QuerySet.query.fset(self, value)

    def _with(self, verb: str, spec: Any, values: tuple[Any, ...] = ()) -> Asking:
        it = Asking.__new__(Asking)
        it.__dict__.update(self.__dict__)
        it._result_cache = None
        if verb:
            it._asked, it._given = (*self._asked, (verb, spec)), self._given + values
        return it

    @property
    def _is_plain(self) -> bool:
        return self._asked is not None and not self._sticky_filter and not self._known_related_objects and not self._prefetch_related_lookups

    # ---- asking

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        return self._sieve("filter", args, kwargs)

    def exclude(self, *args: Any, **kwargs: Any) -> Any:
        return self._sieve("exclude", args, kwargs)

    def _sieve(self, verb: str, args: Any, kwargs: dict[str, Any]) -> Any:
        if self._is_plain and not args and not self._defer_next_filter:
            with suppress(NotSoError):
                return self._with(verb, *_spec(kwargs))
        return getattr(super(), verb)(*args, **kwargs)

    def order_by(self, *names: Any) -> Any:
        plain = self._is_plain and all(isinstance(n, str) for n in names)
        return self._with("order_by", names) if plain else super().order_by(*names)

    def values_list(self, *fields: Any, flat: bool = False, named: bool = False) -> Any:
        plain = self._is_plain and not named and all(isinstance(f, str) for f in fields)
        return self._with("values_list", (fields, flat)) if plain else super().values_list(*fields, flat=flat, named=named)

    def select_for_update(self, *args: Any, **kwargs: Any) -> Any:
        if not self._is_plain or args or kwargs:
            return super().select_for_update(*args, **kwargs)
        it = self._with("select_for_update", ())
        it._for_write = True
        return it

    def all(self) -> Any:
        return self._with("", ()) if self._is_plain else super().all()

    def using(self, alias: Any) -> Any:
        if not self._is_plain:
            return super().using(alias)
        it = self._with("", ())
        it._db = alias
        return it

    # ---- answers

    def _statement(self, how: Any, make: Callable[[], Statement]) -> Statement | None:
        key = self.model, how, self._asked
        if key not in _statements:
            _statements[key] = None
            with suppress(NotSoError, EmptyResultSet, FullResultSet):
                _statements[key] = make()
        return _statements[key]

    def _rows(self, how: str) -> list[Any] | None:
        """The answer; None when this has to be asked Django's own way."""
        if not self._is_plain or self._result_cache is not None:
            return None
        db = self.db
        statement = self._statement(how, lambda: _select(self, db, how))
        if statement is None:
            return None
        connection = connections[db]
        connection.ensure_connection()
        connection.validate_no_broken_transaction()
        found = connection.connection.execute(statement.sql, statement.parameters(self._given)).fetchall()
        return statement.decode(connection, db, found) if statement.decode else found

    def _fetch_all(self) -> None:
        if self._result_cache is None:
            self._result_cache = self._rows("all")
            _ = self._result_cache is None and self.query  # what it is made of is known from then on
        super()._fetch_all()

    def first(self) -> Any:
        found = self._rows("first")
        return super().first() if found is None else found[0] if found else None

    def exists(self) -> bool:
        found = self._rows("exists")
        return super().exists() if found is None else bool(found)

    def count(self) -> int:
        found = self._rows("count")
        return super().count() if found is None else found[0][0]

    def get(self, *args: Any, **kwargs: Any) -> Any:
        it = self.filter(*args, **kwargs) if args or kwargs else self
        found = it._rows("get")
        if found is None:
            return QuerySet.get(it)
        if len(found) == 1:
            return found[0]
        name = self.model._meta.object_name
        if not found:
            raise self.model.DoesNotExist(f"{name} matching query does not exist.")
        raise self.model.MultipleObjectsReturned(f"get() returned more than one {name}")

    # ---- changing

    def update(self, **changes: Any) -> int:
        if self._is_plain:
            self._for_write = True
            fields = [(self.model._meta.get_field(name), value) for name, value in changes.items()]
            if _plain(fields):
                with transaction.mark_for_rollback_on_error(using=self.db):
                    done = self._change(fields)
                if done is not None:
                    return done
        return super().update(**changes)

    def _update(self, values: Any) -> int:
        if self._is_plain:
            self._for_write = True
            fields = [(field, value) for field, _, value in values]
            if _plain(fields) and (done := self._change(fields)) is not None:
                return done
        return super()._update(values)

    def _change(self, fields: list[tuple[Any, Any]]) -> int | None:
        db = self.db
        connection = connections[db]
        set_to = [(f, f.get_db_prep_save(value, connection)) for f, value in fields]
        how = "update", tuple((f.name, value is None) for f, value in set_to)
        statement = self._statement(how, lambda: _updating(self, db, fields, [v for _, v in set_to if v is not None]))
        if statement is None:
            return None
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, [v for _, v in set_to if v is not None] + statement.parameters(self._given))
            return cursor.rowcount

    def _insert(self, objs: Any, fields: Any, returning_fields: Any = None, raw: bool = False, using: Any = None, **more: Any) -> Any:
        one = objs[0]
        if len(objs) != 1 or raw or any(more.values()) or not _plain([(f, getattr(one, f.attname)) for f in fields]):
            return super()._insert(objs, fields, returning_fields, raw, using, **more)
        self._for_write = True
        db = using or self.db
        connection = connections[db]
        values = [f.get_db_prep_save(f.pre_save(one, True), connection) for f in fields]
        how = "insert", tuple(f.name for f in fields), tuple(f.name for f in returning_fields or ())
        statement = self._statement(how, lambda: _inserting(self.model, db, one, fields, returning_fields, values))
        if statement is None:
            return super()._insert(objs, fields, returning_fields, raw, using, **more)
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, values)
            return [cursor.fetchone()] if returning_fields else []


_NO_QUERY: Any = object()


def _spec(kwargs: dict[str, Any]) -> tuple[Spec, tuple[Any, ...]]:
    """The shape of some conditions, and their values. Raises NotSoError."""
    spec, values = [], []
    for key, given in kwargs.items():
        value = given.pk if isinstance(given, Model) and "__" not in key else given
        if value is None or value is True or value is False:
            spec.append((key, str(value)))
        elif isinstance(value, list | tuple | set | frozenset):
            spec.append((key, f"[{''.join(map(_letter, value))}]"))
            values += value
        else:
            spec.append((key, _letter(value)))
            values.append(value)
    return tuple(spec), tuple(values)


def _letter(value: Any) -> str:
    kind = type(value)
    letter = _LETTERS.get(kind) or ("t" if isinstance(value, str) else None)
    if letter is None:
        raise NotSoError
    return letter


def _plain(fields: list[tuple[Any, Any]]) -> bool:
    return not any(hasattr(v, "resolve_expression") or hasattr(v, "prepare_database_save") or hasattr(f, "get_placeholder") for f, v in fields)


def _replay(asking: Asking, values: tuple[Any, ...]) -> QuerySet:
    """The question as Django's own, with these values."""
    real, left = QuerySet(asking.model, using=asking._db, hints=asking._hints), list(values)
    for verb, spec in asking._asked:
        if verb in ("filter", "exclude"):
            real = getattr(real, verb)(**{key: _take(kind, left) for key, kind in spec})
        elif verb == "values_list":
            real = real.values_list(*spec[0], flat=spec[1])
        else:
            real = getattr(real, verb)(*spec)
    real._for_write = asking._for_write
    return real


def _take(kind: str, left: list[Any]) -> Any:
    if kind in _CONSTANTS:
        return _CONSTANTS[kind]
    if kind.startswith("["):
        return [left.pop(0) for _ in kind[1:-1]]
    return left.pop(0)


def _tagged(asking: Asking) -> tuple[QuerySet, list[Any]]:
    """The question with values that are known again among the parameters."""
    kinds = [k for verb, spec in asking._asked if verb in ("filter", "exclude") for _, k in spec if k not in _CONSTANTS]
    tags = [_TAGS[letter](n) for n, letter in enumerate("".join(kinds).replace("[", "").replace("]", ""))]
    return _replay(asking, tuple(tags)), tags


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


def _select(asking: Asking, db: str, how: str) -> Statement:
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
    flat, listed = real._iterable_class is FlatValuesListIterable, real._iterable_class is ValuesListIterable
    if compiler.has_composite_fields(columns) or (compiler.annotation_col_map and not flat and not listed):
        raise NotSoError
    model = real.model
    names = [] if flat or listed else [f[0].target.attname for f in compiler.select]

    def decode(connection: Any, db: str, rows: list[Any]) -> list[Any]:
        if converters:
            rows = [_converted(connection, row, converters) for row in rows]
        if flat:
            return [row[0] for row in rows]
        if listed:
            return [tuple(row) for row in rows]
        return [model.from_db(db, names, row) for row in rows]

    return decode


def _converted(connection: Any, row: Any, converters: list[Any]) -> list[Any]:
    made = list(row)
    for n, (chain, column) in converters:
        for convert in chain:
            made[n] = convert(made[n], column, connection)
    return made


def _updating(asking: Asking, db: str, fields: list[tuple[Any, Any]], set_to: list[Any]) -> Statement:
    real, tags = _tagged(asking)
    query = real.query.chain(UpdateQuery)
    query.add_update_fields([(f, None, v) for f, v in fields])
    query.annotations = {}
    query.clear_select_clause()
    sql, parameters = query.get_compiler(db).as_sql()
    if query.related_updates or "SELECT" in sql or list(parameters[: len(set_to)]) != set_to:
        raise NotSoError
    return Statement(sql, _sources(parameters[len(set_to):], tags))


def _inserting(model: Any, db: str, one: Any, fields: Any, returning: Any, values: list[Any]) -> Statement:
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
