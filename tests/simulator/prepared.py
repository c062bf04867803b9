"""Django's SQL compiled once for each shape of a question and kept: the same SQL and the same rows, in a fraction of the time.

The simulator uses it, and not for every seed, and so do the flows in one process on SQLite. A question is written down as it is
asked; at its end its shape is looked up. What cannot be written down so is asked Django's own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import connections, transaction
from django.db.models import Exists, Manager, Model, Q
from django.db.models.query import QuerySet

from tests.simulator import compiled
from tests.simulator.compiled import Kind, NotSoError, Spec, Statement

_LETTERS = {str: "t", int: "i", float: "r"}
_NOTHING = Statement("", ())
"""What can have no rows is not even asked."""
_statements: dict[Any, Statement | None] = {}


@contextmanager
def installed() -> Iterator[None]:
    """Every manager asks so while this is open."""
    before, exists = Manager._queryset_class, Exists.__init__

    def remember(self: Exists, queryset: Any, **kwargs: Any) -> None:
        self.__dict__["asking"] = queryset._with("", ()) if isinstance(queryset, Asking) and queryset._is_plain and not kwargs else None
        exists(self, queryset, **kwargs)

    Manager._queryset_class, Exists.__init__ = Asking, remember  # type: ignore[method-assign]
    try:
        yield
    finally:
        Manager._queryset_class, Exists.__init__ = before, exists  # type: ignore[method-assign]


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
            real = compiled.replay(self, self._given)
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
        if self._is_plain and not self._defer_next_filter:
            with suppress(NotSoError):
                return self._with(verb, *_spec((*args, *kwargs.items())))
        return getattr(super(), verb)(*args, **kwargs)

    def order_by(self, *names: Any) -> Any:
        plain = self._is_plain and all(isinstance(n, str) for n in names)
        return self._with("order_by", names) if plain else super().order_by(*names)

    def values_list(self, *fields: Any, flat: bool = False, named: bool = False) -> Any:
        plain = self._is_plain and not named and all(isinstance(f, str) for f in fields)
        return self._with("values_list", (fields, flat)) if plain else super().values_list(*fields, flat=flat, named=named)

    def _named(self, verb: str, names: tuple[Any, ...]) -> Any:
        plain = self._is_plain and names and all(isinstance(n, str) for n in names)
        return self._with(verb, names) if plain else getattr(super(), verb)(*names)

    def values(self, *fields: Any, **expressions: Any) -> Any:
        return super().values(*fields, **expressions) if expressions else self._named("values", fields)

    def only(self, *fields: Any) -> Any:
        return self._named("only", fields)

    def select_related(self, *fields: Any) -> Any:
        return self._named("select_related", fields)

    def __getitem__(self, wanted: Any) -> Any:
        plain = self._is_plain and self._result_cache is None and isinstance(wanted, slice) and wanted.step is None
        if not plain or any(n is not None and n < 0 for n in (wanted.start, wanted.stop)):
            return super().__getitem__(wanted)
        return self._with("__getitem__", (wanted.start, wanted.stop))

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
            try:
                with suppress(NotSoError, FullResultSet):
                    _statements[key] = make()
            except EmptyResultSet:
                _statements[key] = _NOTHING if isinstance(how, str) else None
        return _statements[key]

    def _rows(self, how: str) -> list[Any] | None:
        """The answer; None when this has to be asked Django's own way."""
        if not self._is_plain or self._result_cache is not None:
            return None
        db = self.db
        statement = self._statement(how, lambda: compiled.select(self, db, how))
        if statement is None:
            return None
        if statement is _NOTHING:
            return [(0,)] if how == "count" else []
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
        statement = self._statement(how, lambda: compiled.updating(self, db, fields, [v for _, v in set_to if v is not None]))
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
        statement = self._statement(how, lambda: compiled.inserting(self.model, db, one, fields, returning_fields, values))
        if statement is None:
            return super()._insert(objs, fields, returning_fields, raw, using, **more)
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, values)
            return [cursor.fetchone()] if returning_fields else []


_NO_QUERY: Any = object()


def _spec(conditions: Iterable[Any]) -> tuple[Spec, tuple[Any, ...]]:
    """The shape of some conditions, and their values. Raises NotSoError."""
    spec: list[tuple[Any, ...]] = []
    values: list[Any] = []
    for each in conditions:
        if isinstance(each, Q):
            inner, given = _spec(each.children)
            spec.append(("", "q", each.connector, each.negated, inner))
            values += given
        elif isinstance(each, Exists) and (asking := each.__dict__.get("asking")) is not None and not getattr(each, "extra", None):
            spec.append(("", "exists", *_question(asking)))
            values += asking._given
        elif isinstance(each, tuple):
            spec.append((each[0], _kind(each[0], each[1], values)))
        else:
            raise NotSoError
    return tuple(spec), tuple(values)


def _kind(key: str, given: Any, values: list[Any]) -> Kind:
    """What was given for a key; its values are added to those."""
    value = given.pk if isinstance(given, Model) and "__" not in key else given
    if value is None or value is True or value is False:
        return str(value)
    if isinstance(value, Asking):
        asked = _question(value)
        values += value._given
        return asked
    if isinstance(value, list | tuple | set | frozenset | dict):
        letters = "".join(map(_letter, value))
        values += value
        return f"[{letters}]"
    letter = _letter(value)
    values.append(value)
    return letter


def _question(asking: Asking) -> tuple[Any, ...]:
    """A question inside another. Raises NotSoError."""
    if not asking._is_plain or asking._db is not None or asking._result_cache is not None:
        raise NotSoError
    return asking.model, asking._asked


def _letter(value: Any) -> str:
    kind = type(value)
    letter = _LETTERS.get(kind) or ("t" if isinstance(value, str) else None)
    if letter is None:
        raise NotSoError
    return letter


def _plain(fields: list[tuple[Any, Any]]) -> bool:
    return not any(hasattr(v, "resolve_expression") or hasattr(v, "prepare_database_save") or hasattr(f, "get_placeholder") for f, v in fields)
