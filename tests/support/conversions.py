"""What becomes of an upload: converted, or refused with nothing left."""

import pytest

from luhyaapi.errors import Failed, Refused
from tests.support.disks import MIB
from walrus.services.conversion import to_raw


def converted(store, data, **kw):
    source = store.parent / "upload"
    if isinstance(data, bytes):
        source.write_bytes(data)
    else:
        source = data
    before = source.read_bytes()
    found = to_raw(source, store / "disk", **{"largest_mib": 64} | kw)
    assert source.read_bytes() == before
    assert [p.name for p in store.iterdir()] == ["disk"]
    return found


def refused(store, data, code="image_format", **kw):
    with pytest.raises((Refused, Failed)) as e:
        converted(store, data, **kw)
    assert e.value.code == code
    assert e.value.why
    assert list(store.iterdir()) == [], "nothing is left"
    return e.value.why


def tried(source, target, data, **kw):
    """What became of it, in a word."""
    source.write_bytes(data)
    try:
        assert to_raw(source, target, largest_mib=64, **kw).size <= 64 * MIB
    except Refused as e:
        return e.code
    return "converted"
