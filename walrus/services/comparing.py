"""What two versions have in common, told by the indexes of their files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from luhyaapi.contracts.specs import Amount, Difference
from luhyaapi.errors import Refused
from luhyaapi.transfer.base import Cancelled, never
from luhyaapi.transfer.blocks import HOLE
from walrus.services.blockstore import BlockStore


def compare(store: BlockStore, one: Sequence[str], other: Sequence[str], *, cancelled: Cancelled = never) -> Difference:
    """Of two versions, each named by the sha256 of its files. Raises Refused(not_found | cancelled), Failed(digest)."""
    ones = _blocks(store, one, cancelled)
    others = _blocks(store, other, cancelled)
    shared = ones.keys() & others.keys()
    return Difference(
        only_one=_amount(length for name, length in ones.items() if name not in shared),
        only_other=_amount(length for name, length in others.items() if name not in shared),
        shared=_amount(ones[name] for name in shared),
    )


def _blocks(store: BlockStore, files: Sequence[str], cancelled: Cancelled) -> dict[bytes, int]:
    """Every different block of the files, with its bytes."""
    found: dict[bytes, int] = {}
    for sha256 in files:
        if cancelled():
            raise Refused("cancelled", "Comparing was cancelled")
        index = store.index(sha256)
        found |= {name: index.length(number) for number, name in enumerate(index) if name != HOLE}
    return found


def _amount(lengths: Iterable[int]) -> Amount:
    known = list(lengths)
    return Amount(blocks=len(known), bytes=sum(known))
