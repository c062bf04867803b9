"""Two versions are compared: an order down to the store, its report up; asked again it is known."""

import os

import pytest

from clc.services import comparisons, images
from luhyaapi.errors import Refused
from luhyadb.models import Comparison

KERNEL = b"\x7fELF" + os.urandom(131_068)


@pytest.fixture
def two(cloud):
    """Two versions of a kernel of two blocks, the second of which is another one."""
    for data in (KERNEL, KERNEL[:65_536] + os.urandom(100)):
        cloud.upload("two", data)
        cloud.p.settle()
    return cloud


def test_asked_once_and_known_from_then_on(two):
    row, task = comparisons.compare(two.admin, "two", 1, 2)
    again = comparisons.compare(two.admin, "two", 1, 2)[1]
    assert (row.difference, again) == (None, task), "one who asks meanwhile waits for the same"
    two.p.settle()
    assert two.task(task.pk) == ("done", None)
    row, task = comparisons.compare(two.admin, "two", 1, 2)
    amount = {"only_one": (1, 65_536), "only_other": (1, 100), "shared": (1, 65_536)}
    assert {name: (of["blocks"], of["bytes"]) for name, of in row.difference.items()} == amount
    assert (task, comparisons.known(images.resolve(two.admin, "two"))) == (None, [row])
    two.rest()


def test_a_store_that_lost_a_file_says_so_and_is_asked_again(two):
    sha256 = images.runnable(two.admin, "two:1").blobs[0]["sha256"]
    two.role("walrus").store.remove(sha256)
    task = comparisons.compare(two.admin, "two", 1, 2)[1]
    two.p.settle()
    assert two.task(task.pk)[0] == "failed"
    assert not Comparison.objects.exists()
    assert comparisons.compare(two.admin, "two", 1, 2)[1].pk != task.pk
    two.p.settle()


@pytest.mark.parametrize("pair", [(1, 1), (1, 9), (0, 1), (2**40, 1)])
def test_what_cannot_be_compared_is_refused(two, pair):
    with pytest.raises(Refused):
        comparisons.compare(two.admin, "two", *pair)
    with pytest.raises(Refused):
        comparisons.compare(two.user, "two", 1, 2)
