"""A transaction that the database chose to break a deadlock is done again."""

import pytest
from django.db import OperationalError

from luhyadb import memory

DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")


def raising(error):
    if error:
        raise error
    return "done"


def test_it_is_done_again():
    said = [DEADLOCK, DEADLOCK, None]
    assert memory.unlocked(lambda: raising(said.pop(0))) == "done"
    assert said == []


@pytest.mark.parametrize("error", [OperationalError(2006, "gone"), OperationalError("database is locked"), DEADLOCK], ids=str)
def test_any_other_trouble_is_told_and_so_is_one_without_end(error):
    with pytest.raises(OperationalError) as told:
        memory.unlocked(lambda: raising(error))
    assert told.value is error


@pytest.mark.django_db
def test_inside_another_transaction_that_one_decides():
    said = [DEADLOCK, None]
    with pytest.raises(OperationalError):
        memory.unlocked(lambda: raising(said.pop(0)))
    assert said == [None]
