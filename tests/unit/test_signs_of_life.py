"""The last sign of life goes into the database now and then, of all hosts together and not of all in one moment."""

from clc.services import hosts
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyadb.models import Host


def test_each_is_saved_once_a_minute_and_they_are_spread(world, django_assert_max_num_queries):
    mine = ManualClock()
    before = clock.use(mine)
    try:
        ids = [world.host("nc", last_heard=0.0).pk for _ in range(60)]
        world.host("nc", state="retired", last_heard=0.0)
        saved: dict[str, float] = {}
        seen = []
        for _ in range(24):
            with django_assert_max_num_queries(1):
                hosts.heard(ids, saved, 60)
            seen.append(Host.objects.filter(pk__in=ids, last_heard=clock.now()).count())
            mine.sleep(5)
        assert sum(seen[:13]) >= 60
        assert 100 <= sum(seen) <= 140, "twice in two minutes"
        assert max(seen) < 20, "never all at once"
        assert Host.objects.filter(state="retired", last_heard__gt=0).count() == 0
    finally:
        clock.use(before)


def test_without_a_pause_all_are_saved_at_once(world):
    ids = [world.host("nc", last_heard=0.0).pk for _ in range(3)]
    hosts.heard(ids, {}, 0)
    assert Host.objects.filter(pk__in=ids, last_heard__gt=0).count() == 3
