"""What two versions share, as the store tells it, against the bytes of real files."""

import hashlib
import random

import pytest

from luhyaapi.contracts.specs import Amount
from luhyaapi.errors import Refused
from luhyaapi.transfer.blocks import BLOCK
from tests.support.image_store import opened
from walrus.services.comparing import compare


@pytest.fixture
def store(tmp_path):
    return opened(tmp_path / "store")


def kept(store, folder, content):
    """A file in the store; its sha256."""
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / sha256).write_bytes(content)
    store.add(folder / sha256, sha256)
    return sha256


def blocks(*contents):
    """The different blocks of files that are not all zeros, by their bytes alone."""
    cut = {content[at : at + BLOCK] for content in contents for at in range(0, len(content), BLOCK)}
    return {block for block in cut if any(block)}


def amount(found):
    return Amount(blocks=len(found), bytes=sum(map(len, found)))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_the_files_say(store, tmp_path, seed):
    rng = random.Random(seed)
    some = [bytes(BLOCK), *(rng.randbytes(BLOCK) for _ in range(12))]
    versions = [[b"".join(rng.choices(some, k=rng.randint(8, 30))) + rng.randbytes(rng.randint(0, 900)) for _ in range(rng.randint(1, 2))] for _ in range(2)]
    one, other = ([kept(store, tmp_path, content) for content in files] for files in versions)
    found = compare(store, one, other)
    ones, others = (blocks(*files) for files in versions)
    assert found.only_one == amount(ones - others)
    assert found.only_other == amount(others - ones)
    assert found.shared == amount(ones & others) != Amount(blocks=0, bytes=0)


def test_the_same_and_the_empty(store, tmp_path):
    full, empty = kept(store, tmp_path, b"x" * 70_000), kept(store, tmp_path, bytes(200_000))
    assert compare(store, [full], [full]).shared == Amount(blocks=2, bytes=70_000)
    assert compare(store, [full], [full]).only_one == compare(store, [empty], [full]).only_one == Amount(blocks=0, bytes=0)


def test_what_is_not_here_and_what_is_cancelled(store, tmp_path):
    full = kept(store, tmp_path, b"x")
    with pytest.raises(Refused, match="not here"):
        compare(store, [full], ["0" * 64])
    with pytest.raises(Refused) as trouble:
        compare(store, [full], [full], cancelled=lambda: True)
    assert trouble.value.code == "cancelled"
