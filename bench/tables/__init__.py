"""The rows of docs/performance.md, by the name of the table they stand in."""

from __future__ import annotations

from collections.abc import Sequence

from bench.rows import Row
from bench.tables import cloud, images, lists, networks

TABLES: dict[str, Sequence[Row]] = {**cloud.TABLES, **lists.TABLES, **images.TABLES, **networks.TABLES}
ROWS: tuple[Row, ...] = tuple(row for rows in TABLES.values() for row in rows)
