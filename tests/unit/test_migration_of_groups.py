"""A database of before has its images in groups afterwards, and its people as they were; of a cluster too."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def migrate(state: Path, role: str, *to: str) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("EDUCLOUD_")}
    environ |= {"EDUCLOUD_HOST__STATE": str(state), "EDUCLOUD_HOST__ROLE": role}
    done = subprocess.run([sys.executable, "manage.py", "migrate", *to], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_paths_of_images_become_groups(tmp_path: Path) -> None:
    migrate(tmp_path, "clc", "luhyadb", "0011")
    with sqlite3.connect(tmp_path / "database.sqlite") as base:
        base.execute("insert into luhyadb_account (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined,"
                     " language) values (1, '', 0, 'ada', '', '', '', 0, 1, '2026-01-01', ''), (2, '', 0, 'root', '', '', '', 1, 1, '2026-01-01', '')")
        for number, path in enumerate(("edu.school.a", "edu.school", "")):
            base.execute("insert into luhyadb_image (id, name, usage, os_type, os_distro, architecture, owner_group, description, owner_id, retired,"
                         " created_at) values (?, ?, 'server', '', '', 'x86_64', ?, '', 1, 0, 0)", (f"img-{number:08x}", f"i{number}", path))
    migrate(tmp_path, "clc")
    with sqlite3.connect(tmp_path / "database.sqlite") as base:
        found = base.execute("select i.name, g.path from luhyadb_image i join luhyadb_group g on g.id = i.group_id order by i.name").fetchall()
        assert found == [("i0", "edu.school.a"), ("i1", "edu.school"), ("i2", "")]
        pairs = base.execute("select count(*) from luhyadb_groupabove a join luhyadb_group g on g.id = a.group_id where g.path = 'edu.school.a'").fetchone()
        assert pairs == (4,)
        assert base.execute("select access_role_id, group_id from luhyadb_account order by id").fetchall() == [
            ("user", "grp-00000000"), ("superAdm", "grp-00000000")]
        assert base.execute("select subject, verb, group_id from luhyadb_share").fetchall() == [("img-00000002", "execute", "grp-00000000")]


@pytest.mark.parametrize("role", ["cc"])
def test_a_clusters_database_is_made_too(tmp_path: Path, role: str) -> None:
    migrate(tmp_path, role)
