"""Machines that end: told, stopped and deleted by the cloud itself, over its whole way down; budgets; a clock that jumps; who ran when."""

import pytest
from django.db.models import F

from clc.services import budgets, endings, expiry, expiry_rules, instances, runs
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Budgeted, DomainState
from luhyaapi.errors import Refused
from luhyadb.models import Account, Event, Expiry, Instance, Run, Task

pytestmark = pytest.mark.walk
DAY = 86400.0


def _told(what):
    return [e.subject for e in Event.objects.filter(what=what).order_by("id")]


def _leap(cloud, seconds):
    """Time goes by, and at its end everybody is heard again."""
    cloud.clock.sleep(seconds - 40)
    cloud.p.pass_time(40)


def _domain(cloud, one):
    return cloud.p.hypervisor(cloud.node(one)).inspect(one).state


def test_a_machine_is_told_stopped_and_stays(cloud):
    one, other = cloud.do(), cloud.do()
    expiry.put(cloud.user, one, "25h")
    cloud.p.pass_time(60)
    assert _told("instance expires soon") == []
    Expiry.objects.update(expires_at=F("expires_at") - 25 * 3600 + 300, warn_at=clock.now() + 60)
    _leap(cloud, 120)
    assert _told("instance expires soon") == [one]
    assert cloud.state(one) == "running"
    _leap(cloud, 300)
    assert (cloud.state(one), _domain(cloud, one)) == ("stopped", DomainState.STOPPED), "and its disk is there"
    assert cloud.state(other) == "running"
    assert _told("instance expired") == [one]
    stop = Task.objects.filter(subject=one, kind="instance/stop").get()
    assert stop.state == "done"
    assert Event.objects.filter(task=stop.pk, via="cloud", actor=None).exists(), "nobody asked"
    with pytest.raises(Refused, match="it expired at"):
        instances.start(cloud.user, one)
    expiry.put(cloud.user, one, "1h")
    cloud.do("start", one)
    _leap(cloud, 600)
    assert cloud.state(one) == "running"
    cloud.rest()


def test_what_ended_is_deleted_only_where_its_group_says_so(cloud):
    one = cloud.do(expires="60s")
    _leap(cloud, 120)
    assert cloud.state(one) == "stopped"
    _leap(cloud, 3600)
    assert cloud.state(one) == "stopped"
    expiry_rules.put(cloud.admin, "everybody", {"delete_after": "2h"})
    _leap(cloud, 3000)
    assert cloud.state(one) == "stopped"
    _leap(cloud, 1200)
    assert cloud.state(one) == "deleted"
    cloud.rest()
    _leap(cloud, 700)
    assert not Expiry.objects.exists()


def test_a_deactivated_owner_holds_nothing_up(cloud):
    one = cloud.do(expires="60s")
    Account.objects.filter(pk=cloud.user.pk).update(is_active=False)
    _leap(cloud, 120)
    assert cloud.state(one) == "stopped"


def test_what_waits_or_starts_ends_too_and_who_is_unknown_ends_when_seen_again(cloud):
    queued, _ = cloud.ask(expires="1s")
    cloud.clock.sleep(2)
    endings.tend(endings.Held())
    cloud.p.pass_time(20)
    assert cloud.state(queued) == "stopped"
    one = cloud.do(expires="60s")
    row = Instance.objects.get(pk=one)
    instances.move(row, "host_silent")
    cloud.clock.sleep(120)
    assert not endings.tend(endings.Held())
    assert not Task.objects.filter(subject=one, kind="instance/stop").exists(), "nobody hears it now"
    row.refresh_from_db()
    instances.move(row, "seen_running")
    endings.tend(endings.Held())
    cloud.p.settle()
    assert cloud.state(one) == "stopped"


def test_a_clock_that_jumps_a_year_stops_no_school(cloud):
    many = [cloud.do(expires="30d") for _ in range(6)]
    cloud.clock.sleep(365 * DAY)
    cloud.p.pass_time(60)
    assert {cloud.state(one) for one in many} == {"running"}
    assert endings.held() == endings.Held(stops=6)
    assert len(_told("expiry")) == 0
    assert Event.objects.filter(what="ends held").count() == 1, "told once"
    with pytest.raises(Refused):
        endings.let_go(cloud.user)
    cloud.crash("clc")
    cloud.p.pass_time(60)
    assert {cloud.state(one) for one in many} == {"running"}, "also after a restart"
    # the clock is right again: nothing is over, and nothing was done
    cloud.clock.sleep(0)
    Expiry.objects.update(expires_at=F("expires_at") + 365 * DAY)
    assert not endings.held()
    Expiry.objects.update(expires_at=F("expires_at") - 365 * DAY)
    assert endings.let_go(cloud.admin).stops == 6
    cloud.p.pass_time(60)
    assert {cloud.state(one) for one in many} == {"stopped"}


def test_a_few_that_nobody_was_told_of_end(cloud):
    one = cloud.do(expires="30d")
    cloud.do()
    cloud.clock.sleep(31 * DAY)
    cloud.p.pass_time(60)
    assert cloud.state(one) == "stopped"


def test_a_class_whose_end_was_told_ends_as_one(cloud):
    many = [cloud.do() for _ in range(5)]
    assert expiry.put_all(cloud.admin, "everybody", "1h") == 5
    _leap(cloud, 3700)
    assert {cloud.state(one) for one in many} == {"stopped"}
    assert expiry.put_all(cloud.admin, "everybody", "never") == 5
    assert not Expiry.objects.exists()


def test_very_many_are_not_deleted_without_a_word(cloud):
    many = [cloud.do(expires="60s") for _ in range(3)]
    expiry_rules.put(cloud.admin, "everybody", {"delete_after": "1h"})
    _leap(cloud, 120)
    _leap(cloud, 4000)
    assert {cloud.state(one) for one in many} == {"stopped"}
    assert endings.held() == endings.Held(deletes=3)
    endings.let_go(cloud.admin)
    cloud.p.pass_time(60)
    assert {cloud.state(one) for one in many} == {"deleted"}


def test_hours_are_counted_from_when_it_ran(cloud):
    one = cloud.do(cpus=2)
    began = Run.objects.get().began_at
    _leap(cloud, 600)
    cloud.crash("clc")
    _leap(cloud, 600)
    row = Instance.objects.get(pk=one)
    instances.move(row, "host_silent")
    silent = clock.now()
    cloud.clock.sleep(5000)
    used = runs.hours(began, clock.now(), people=[cloud.user.pk])[cloud.user.pk]
    assert used == {Budgeted.HOURS: pytest.approx((silent - began) / 3600), Budgeted.CPU_HOURS: pytest.approx(2 * (silent - began) / 3600)}
    instances.move(row, "seen_running")
    assert runs.hours(began, clock.now(), people=[cloud.user.pk])[cloud.user.pk][Budgeted.HOURS] == pytest.approx((clock.now() - began) / 3600)
    instances.move(row, "host_silent")
    silent = clock.now()
    cloud.clock.sleep(500)
    instances.move(row, "seen_stopped")
    ran = Run.objects.get()
    assert (ran.began_at, ran.ended_at) == (began, silent), "nobody knows of more"
    assert runs.hours(0, began, people=[cloud.user.pk]) == {}
    assert runs.hours(began + 10, began + 46, people=[cloud.user.pk])[cloud.user.pk][Budgeted.HOURS] == pytest.approx(0.01)


def test_a_reboot_is_one_run_and_a_stop_ends_it(cloud):
    one = cloud.do()
    cloud.p.pass_time(60)
    cloud.do("reboot", one)
    assert Run.objects.filter(ended_at=0).count() == Run.objects.count() == 1
    cloud.do("stop", one)
    assert Run.objects.get().ended_at > 0
    cloud.do("start", one)
    cloud.do("delete", one)
    assert [bool(r.ended_at) for r in Run.objects.all()] == [True, True]


def test_a_budget_refuses_starts_and_lets_what_runs_go_on_for_its_grace(cloud):
    one = cloud.do()
    stopped = cloud.do("stop", cloud.do())
    budgets.put(cloud.admin, "hours", 1, until="90d", user="ada")
    expiry_rules.put(cloud.admin, "everybody", {"budget_grace": "1h"})
    _leap(cloud, 2990)
    assert _told("budget near") == [str(cloud.user.pk)]
    _leap(cloud, 700)
    assert _told("budget spent") == [str(cloud.user.pk)]
    for ask in (cloud.ask, lambda: instances.start(cloud.user, stopped)):
        with pytest.raises(Refused, match="The budget of ada is used up"):
            ask()
    assert cloud.state(one) == "running"
    _leap(cloud, 3700)
    assert cloud.state(one) == "stopped"
    budgets.put(cloud.admin, "hours", 5, until="90d", user="ada")
    cloud.do("start", one)
    cloud.p.pass_time(60)
    assert cloud.state(one) == "running"
