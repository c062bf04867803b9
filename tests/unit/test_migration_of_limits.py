"""What runs and who has a public address when a database of before is brought up to date is in the reports from then on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tests.unit.test_migration_of_groups import migrate

BEFORE = "0015"


def put(base: sqlite3.Connection, table: str, **values: Any) -> None:
    """A row; what must be there and is not said is empty."""
    columns = base.execute(f"pragma table_info(luhyadb_{table})").fetchall()
    row = {name: values.get(name, "{}" if name == "why" else "[]" if name == "nics" else 0 if "char" not in kind and kind != "text" else "")
           for _, name, kind, not_null, _, _ in columns if name in values or not_null}
    base.execute(f"insert into luhyadb_{table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values()))


def test_what_runs_and_what_is_lent_is_known_from_then_on(tmp_path: Path) -> None:
    migrate(tmp_path, "clc", "luhyadb", BEFORE)
    with sqlite3.connect(tmp_path / "database.sqlite") as base:
        group = "grp-00000000"
        put(base, "account", id=1, username="ada", group_id=group, access_role_id="user", date_joined="2026-01-01")
        put(base, "image", id="img-00000001", name="i", owner_id=1, group_id=group)
        put(base, "imageversion", id=1, image_id="img-00000001", blobs="[]", parts="[]", hardware="{}")
        for number, state in enumerate(("running", "stopped", "stopping", "unknown")):
            put(base, "instance", id=f"ins-{number:08x}", owner_id=1, group_id=group, image_id=1, state=state, cpus=2, memory_mib=64, changed_at=100.0 + number,
                ssh_keys="[]")
        put(base, "host", id="cc-00000001", group_id=group, speaks="{}")
        for number, owner in enumerate((1, None)):
            put(base, "elasticaddress", id=f"eip-{number:08x}", cluster_id="cc-00000001", address=f"192.0.2.{number}", owner_id=owner, allocated_at=7.0)
    migrate(tmp_path, "clc")
    with sqlite3.connect(tmp_path / "database.sqlite") as base:
        assert base.execute("select instance_id, owner_id, cpus, began_at, ended_at from luhyadb_run order by instance_id").fetchall() == [
            ("ins-00000000", 1, 2, 100.0, 0.0), ("ins-00000002", 1, 2, 102.0, 0.0)]
        assert base.execute("select address, owner_id, began_at, ended_at from luhyadb_addressholding").fetchall() == [("192.0.2.0", 1, 7.0, 0.0)]
