"""Settings: file below environment below argument; what is wrong is named; secrets stay in their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from luhyaapi import conf
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Refused


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("EDUCLOUD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(conf.CONFIG_VARIABLE, "")


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "nc.toml"
    file.write_text(text)
    return file


def test_defaults_need_no_file() -> None:
    found = conf.load()
    assert found.host.role is Role.CLC
    assert found.beat.every_s == 5


def test_file_below_environment_below_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(tmp_path, '[host]\nrole = "nc"\nname = "file"\n[beat]\nevery_s = 7\nreconcile_s = 11\n')
    assert conf.load(file).host.role is Role.NC
    monkeypatch.setenv("EDUCLOUD_BEAT__EVERY_S", "8")
    found = conf.load(file)
    assert (found.beat.every_s, found.beat.reconcile_s) == (8, 11)
    assert conf.load(file, beat={"every_s": 9}).beat.every_s == 9


def test_what_an_operator_wrote_beside_the_file_wins_and_is_checked(tmp_path: Path) -> None:
    file = _file(tmp_path, '[host]\nrole = "nc"\n[beat]\nevery_s = 7\nreconcile_s = 11\n')
    beside = tmp_path / "nc.local.toml"
    beside.write_text("[beat]\nevery_s = 8\n[cache]\nquota_mib = 5\n")
    found = conf.load(file)
    assert (found.host.role, found.beat.every_s, found.beat.reconcile_s, found.cache.quota_mib) == (Role.NC, 8, 11, 5)
    beside.write_text("[beat]\nevry_s = 8\n")
    with pytest.raises(Refused, match="evry_s"):
        conf.load(file)


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(conf.CONFIG_VARIABLE, str(_file(tmp_path, '[host]\nname = "x"\n')))
    assert conf.load().host.name == "x"


@pytest.mark.parametrize(("text", "named"), [
    ('[host]\nrole = "king"\n', "role"),
    ('[beat]\nevery_s = "often"\n', "every_s"),
    ("[beat]\nevry_s = 5\n", "evry_s"),
    ("[host\n", "configuration"),
    ('[store]\ndriver = "disk"\n', "store.driver"),
    ('[store]\ndriver = "s3"\nendpoint = "http://s3"\n', "store.access_key, store.secret_file"),
    ('[store]\nbucket = "No Bucket"\n', "store.bucket"),
])
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(Refused) as e:
        conf.load(_file(tmp_path, text))
    assert e.value.code == "invalid"
    assert named in str(e.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused) as e:
        conf.load(tmp_path / "missing.toml")
    assert e.value.code == "not_found"
    assert "missing.toml" in e.value.what


def test_the_door_has_a_port_unless_it_is_an_address_already() -> None:
    assert conf.Host(address="10.0.0.1", door_port=8604).door == "http://10.0.0.1:8604"
    assert conf.Host(address="near://walrus").door == "near://walrus"


def test_a_secret_is_the_one_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("  s3cret \n")
    assert conf.read_secret(file) == "s3cret"
    for missing in (None, tmp_path / "missing", tmp_path):
        with pytest.raises(Refused) as e:
            conf.read_secret(missing)
        assert e.value.code == "not_found"


def test_the_table_lists_every_setting_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret")
    rows = conf.table(conf.load(broker={"password_file": file}))
    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names)) == sum(len(f.annotation.model_fields) for f in conf.Settings.model_fields.values())  # type: ignore[union-attr]
    assert "s3cret" not in str(rows)


def test_every_number_says_its_unit_or_is_a_count() -> None:
    counts = {
        "port", "admin_port", "door_port", "stream_port", "silent_after", "boots", "cpus", "display_first", "display_count", "lent_first", "lent_count",
        "keep_days",
        "guest_uid_first", "forward_first", "at_most", "each_at_most", "per_node", "keep_versions", "password_length",
        "attempts",
    }
    for group in conf.Settings.model_fields.values():
        for name, field in group.annotation.model_fields.items():  # type: ignore[union-attr]
            if field.annotation in (int, float):
                assert name in counts or name.endswith(("_s", "_mib", "_mbit")), name


def test_variables_of_the_installing_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert conf.given("PORT_BASE", "8600") == "8600"
    monkeypatch.setenv("EDUCLOUD_PORT_BASE", "9000")
    assert conf.given("PORT_BASE", "8600") == "9000"
