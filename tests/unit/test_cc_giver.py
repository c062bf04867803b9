"""What a cluster says of files it has not got: on their way, or not there."""

import contextlib
from types import SimpleNamespace

import pytest

from cc import door
from cc.services import prefetches
from cc.services.arrivals import ClusterArrivals
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer import giver
from luhyaapi.transfer.arrivals import Coming
from luhyaapi.transfer.cache import BlobCache

NOTED, PREFETCHED, UNKNOWN = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def gives(tmp_path, monkeypatch):
    monkeypatch.setattr(door, "PATIENCE_S", 0.0)
    cache = BlobCache(tmp_path / "cache", 100, 0)
    arrivals = ClusterArrivals(tmp_path / "arrivals", cache, inline=True)
    arrivals.bring(Coming(blob=Blob(part="disk", sha256=NOTED, index="0" * 64, size=1), url="x://y", ticket="t"), lambda: False)
    office = SimpleNamespace(cache=cache, arrivals=arrivals, agent=SimpleNamespace(memory=contextlib.nullcontext))
    monkeypatch.setattr(prefetches, "awaited", lambda _office: {PREFETCHED})
    return door._Giver(office)


@pytest.mark.parametrize("sha256", [NOTED, PREFETCHED])
def test_of_what_is_on_its_way_it_says_so(gives, sha256):
    with pytest.raises(Unavailable, match="on their way"):
        giver.answer(gives, sha256, "blocks", {"want": "0"})


def test_of_what_is_unknown_it_says_that_too(gives):
    with pytest.raises(Refused) as said:
        giver.answer(gives, UNKNOWN, "index", {})
    assert said.value.code == "not_found"
