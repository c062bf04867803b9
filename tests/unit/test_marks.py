"""A host knows the machine it joined on: a copy of it starts nothing, a repaired one goes on."""

import json

import pytest

from luhyaapi import facts
from luhyaapi.errors import Refused
from luhyaapi.wire import joining
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.joining import MACHINE_FILE, membership, of_another

OURS = frozenset({"board 11", "card 00:16:00:00:00:01", "card 52:54:00:12:34:56"})
COPY = frozenset({"board 22", "card 00:16:00:00:00:02"})
REPAIRED = frozenset({"board 33", "card 00:16:00:00:00:01"})
VIRTUAL_COPY = frozenset({"board 44", "card 52:54:00:12:34:56"})


@pytest.fixture
def joined(settings, tmp_path):
    """The settings of a host that has joined, and its folder."""
    host = settings.EDUCLOUD.host.model_copy(update={"state": tmp_path})
    mine = settings.EDUCLOUD.model_copy(update={"host": host})
    Membership("nc-1", "cert", "authority", "cc-1", "boss", "amqp://").save(mine.host.identity)
    return mine, mine.host.identity


def test_it_remembers_its_machine_and_is_at_home_there(joined):
    mine, folder = joined
    for _ in range(2):
        assert membership(mine, marks=OURS).host == "nc-1"
    assert set(json.loads((folder / MACHINE_FILE).read_text())) == OURS


def test_a_copy_is_refused_with_what_to_do(joined):
    mine, folder = joined
    membership(mine, marks=OURS)
    with pytest.raises(Refused):
        membership(mine, marks=VIRTUAL_COPY)
    with pytest.raises(Refused) as e:
        membership(mine, marks=COPY)
    assert e.value.code == "conflict"
    assert "board 11" in e.value.why
    assert "board 22" in e.value.why
    assert str(folder / MACHINE_FILE) in e.value.hint
    assert set(json.loads((folder / MACHINE_FILE).read_text())) == OURS, "asking again changes nothing"
    (folder / MACHINE_FILE).unlink()
    assert membership(mine, marks=COPY).host == "nc-1"


def test_parts_may_be_replaced_one_after_the_other(joined):
    mine, _ = joined
    for marks in (OURS, REPAIRED, frozenset({"board 33", "card 00:16:00:00:00:09"})):
        assert membership(mine, marks=marks).host == "nc-1"
    with pytest.raises(Refused):
        membership(mine, marks=OURS)


def test_an_account_that_may_not_read_the_board_forgets_it_not(joined):
    mine, folder = joined
    membership(mine, marks=OURS)
    membership(mine, marks=frozenset({"card 00:16:00:00:00:07"}))
    assert set(json.loads((folder / MACHINE_FILE).read_text())) == {"board 11", "card 00:16:00:00:00:07"}
    with pytest.raises(Refused):
        membership(mine, marks=COPY)


def test_a_disk_without_room_keeps_no_host_from_starting(joined, monkeypatch):
    mine, folder = joined
    monkeypatch.setattr(joining.files, "write_atomic", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert membership(mine, marks=OURS).host == "nc-1"
    assert not (folder / MACHINE_FILE).exists()


@pytest.mark.parametrize("known", ["", "[", '{"board 1": 1}', "[]"])
def test_what_cannot_be_known_is_not_held_against_it(joined, known):
    mine, folder = joined
    (folder / MACHINE_FILE).write_text(known)
    assert membership(mine, marks=frozenset()).host == "nc-1"
    assert membership(mine, marks=COPY).host == "nc-1"


def test_a_card_alone_is_no_machine(joined):
    mine, _ = joined
    for card in ("1", "2"):
        assert membership(mine, marks=frozenset({f"card 02:00:00:00:00:0{card}"})).host == "nc-1"


def test_nothing_is_written_where_nothing_can_be_read(joined):
    mine, folder = joined
    membership(mine, marks=frozenset())
    assert not (folder / MACHINE_FILE).exists()
    assert of_another(folder, OURS) == ""
    assert joining.what_to_do(folder)


@pytest.mark.parametrize(("board", "told"), [
    ("4C4C4544-0042\n", {"board 4c4c4544-0042"}), ("03000200-0400-0500-0006-000700080009", set()), ("", set()),
])
def test_marks_of_a_board(tmp_path, monkeypatch, board, told):
    (tmp_path / "uuid").write_text(board)
    monkeypatch.setattr(facts, "_BOARD", tmp_path / "uuid")
    monkeypatch.setattr(facts, "_CARDS", tmp_path / "none")
    assert facts.marks() == told


def test_marks_of_cards_that_are_no_bridges(tmp_path, monkeypatch):
    for name, address, is_real in (("eth0", "02:00:00:00:00:01", True), ("br0", "02:00:00:00:00:02", False), ("eth1", "00:00:00:00:00:00", True)):
        (tmp_path / "net" / name).mkdir(parents=True)
        (tmp_path / "net" / name / "address").write_text(address + "\n")
        if is_real:
            (tmp_path / "net" / name / "device").mkdir()
    (tmp_path / "net" / "eth2" / "device").mkdir(parents=True)
    monkeypatch.setattr(facts, "_BOARD", tmp_path / "none")
    monkeypatch.setattr(facts, "_CARDS", tmp_path / "net")
    assert facts.marks() == {"card 02:00:00:00:00:01"}
