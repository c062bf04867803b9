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
        signs = hosts.SignsOfLife(60)
        seen = []
        for _ in range(24):
            with django_assert_max_num_queries(1):
                signs.heard(ids)
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
    hosts.SignsOfLife(0).heard(ids)
    assert Host.objects.filter(pk__in=ids, last_heard__gt=0).count() == 3


def test_of_all_hosts_it_is_written_at_most_once_a_second(world, django_assert_num_queries):
    ids = [world.host("nc", last_heard=0.0).pk for _ in range(30)]
    mine = ManualClock()
    before = clock.use(mine)
    try:
        signs = hosts.SignsOfLife(60)
        signs.heard(ids)
        mine.sleep(61)
        signs.heard(ids[:1])
        with django_assert_num_queries(0):
            for host in ids[1:]:
                signs.heard([host])
        mine.sleep(1)
        with django_assert_num_queries(1):
            signs.heard(ids[:1])
        assert Host.objects.filter(pk__in=ids, last_heard__gt=0).count() == 30
    finally:
        clock.use(before)
