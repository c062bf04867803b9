"""What a rule lets go is gone from the store and every cache; what is used stays until it is used no more."""

import os

import pytest

from clc.services import images, instances

pytestmark = pytest.mark.walk


def kernel():
    return b"\x7fELF" + os.urandom(100_000)


def test_old_versions_go_everywhere_and_what_runs_stays(cloud):
    for _ in range(3):
        cloud.upload("lab", kernel())
        cloud.p.settle()
    (row,) = instances.run(cloud.user, instances.Ask("lab:1"))
    cloud.p.settle()
    one, two, three = ({b["sha256"] for b in v.blobs} for v in images.resolve(cloud.admin, "lab").versions.order_by("version"))
    store = cloud.role("walrus").store
    before = store.used()
    assert [v.version.version for v in images.keep(cloud.admin, "lab", 1)] == [2]
    cloud.p.settle()
    kept = set(store.sha256s())
    assert one | three <= kept
    assert not two & kept
    assert store.used() < before, "its blocks are free"
    assert cloud.state(row.pk) == "running"
    cloud.do("delete", row.pk)
    assert images.tidy_all() == 1, "what the slow loop does"
    cloud.p.settle()
    assert not one & set(store.sha256s())
    assert cloud.role("nc1").cache.path(*one) is None
    assert three <= set(store.sha256s())
    cloud.rest()
