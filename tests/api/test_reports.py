"""What was used, by whom and when: of what one may see, by group, person and time; as JSON, as a table no spreadsheet runs, as a page, by command."""

import csv
import io

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from clc.services import capacity, elastic
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyadb.models import Account, AddressHolding, CapacitySample, Host, ImageVersion, Instance, Run

API = "/api/v1/"
HOUR = 3600.0


@pytest.fixture
def hand():
    now = ManualClock(1_800_000_000.0)
    before = clock.use(now)
    yield now
    clock.use(before)


@pytest.fixture
def school(hand, world, admin):
    """Two classes and another school, a head, a teacher and pupils; what three of them ran."""
    world.cluster()
    image = world.image(admin)
    for path in ("edu.a.one", "edu.a.two", "edu.ab"):
        world.group(path)
    people = {
        name: world.account(name, role, group) for name, role, group in (
            ("head", "powerAdm", "edu.a"), ("tina", "powerAdm", "edu.a.one"), ("paul", "user", "edu.a.one"), ("pia", "user", "edu.a.two"),
            ("bob", "powerAdm", "edu.ab"))
    }
    for n, (name, cpus, began, hours) in enumerate((("paul", 2, 50, 4), ("paul", 1, 30, 2), ("pia", 1, 20, 5), ("bob", 4, 10, 1))):
        row = world.instance(people[name], image, f"m{n}", cpus=cpus)
        start = clock.now() - began * HOUR
        Run.objects.create(instance=row, owner=row.owner, group_id=row.group_id, cpus=cpus, memory_mib=256, began_at=start, ended_at=start + hours * HOUR)
    return people


def told(client, name="instances", **asked):
    answer = client.get(f"{API}reports/{name}/", asked)
    assert answer.status_code == 200, answer.content
    return answer.json()["results"]


def test_everybody_gets_what_they_may_see_and_no_more(api, admin, school):
    def seen(who, **asked):
        return [(r["user"], r["name"]) for r in told(api(who), **asked)]

    assert seen(admin) == [("bob", "m3"), ("pia", "m2"), ("paul", "m1"), ("paul", "m0")]
    assert seen(school["head"]) == [("pia", "m2"), ("paul", "m1"), ("paul", "m0")]
    assert seen(school["tina"]) == [("paul", "m1"), ("paul", "m0")]
    assert seen(school["bob"]) == [("bob", "m3")]
    assert seen(school["pia"]) == [("pia", "m2")]
    assert seen(school["tina"], user="pia") == [], "whether there is a pia is not told"
    assert seen(admin, group="edu.a") == [("pia", "m2"), ("paul", "m1"), ("paul", "m0")], "edu.ab is not below edu.a"
    assert seen(school["head"], group="edu.a.two") == [("pia", "m2")]
    assert seen(school["head"], user="PAUL") == [("paul", "m1"), ("paul", "m0")]
    assert api(school["bob"]).get(f"{API}reports/instances/?group=edu.a.one").status_code == 404
    assert api(None).get(f"{API}reports/instances/").status_code == 401


def test_hours_are_those_within_the_time(api, admin, school):
    since, until = (clock.rfc3339(clock.now() - h * HOUR) for h in (49, 47))
    (line,) = told(api(admin), **{"from": since, "to": until})
    assert [line[n] for n in ("name", "hours", "cpu_hours", "group", "image", "memory_bytes")] == ["m0", 2.0, 4.0, "edu.a.one", "tiny", 256 * 2**20]
    row = Instance.objects.get(name="m1")
    Run.objects.create(instance=row, owner=row.owner, group_id=row.group_id, cpus=1, memory_mib=1, began_at=clock.now() - HOUR)
    (line,) = told(api(admin), **{"from": clock.rfc3339(clock.now() - 2 * HOUR)})
    assert (line["to"], line["hours"]) == (None, 1.0), "it runs"


@pytest.mark.parametrize("asked", [
    {"from": "x"}, {"to": "0001-01-01"}, {"from": "2027-02-02", "to": "2027-01-01"}, {"form": "xls"}, {"owner": "paul"}, {"from": "\0"}, {"limit": "0"},
    {"cursor": "x"}, {"from": "9999-12-31"}, {"group": "..", "user": "x"},
])
def test_what_cannot_be_asked_is_refused(api, admin, school, asked):
    assert api(admin).get(f"{API}reports/instances/", asked).status_code == 422


def test_there_are_four_reports(api, admin, school):
    assert api(admin).get(f"{API}reports/secrets/").status_code == 404
    for name in ("instances", "images", "addresses", "capacity"):
        told(api(admin), name)


def test_a_table_is_harmless_and_whole(api, admin, school):
    Instance.objects.filter(name="m1").update(name="=HYPERLINK(1)")
    Account.objects.filter(username="pia").update(username="@pia")
    answer = api(school["head"]).get(f"{API}reports/instances/?form=csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.content.decode().removeprefix("\ufeff"))))
    assert [(r["name"], r["user"], r["hours"]) for r in rows] == [("m2", "'@pia", "5.0"), ("'=HYPERLINK(1)", "paul", "2.0"), ("m0", "paul", "4.0")]
    assert not any(cell.startswith(("=", "+", "-", "@")) for r in rows for cell in r.values())


def test_pages_of_a_report_follow_each_other(api, admin, school):
    first = api(admin).get(f"{API}reports/instances/?limit=3").json()
    following = api(admin).get(first["next"].partition("testserver")[2]).json()
    assert [r["name"] for r in first["results"] + following["results"]] == ["m3", "m2", "m1", "m0"]
    assert following["next"] is None


def test_one_question_tells_a_report(api, admin, school):
    from clc.services import reports

    for who in (admin, school["head"]):
        asked = reports.asked(who, {})
        for report in reports.REPORTS.values():
            with CaptureQueriesContext(connection) as queries:
                reports.lines(who, report, asked, 100)
            assert len(queries) == 1


def test_image_storage_tells_shared_blocks_apart(hand, api, admin, school):
    ImageVersion.objects.update(
        blobs=[{"part": "disk", "sha256": "0" * 64, "index": "0" * 64, "size": 4000, "format": "raw", "virtual_size": 9000}],
        parts=[{"part": "disk", "sha256": "", "size": 0, "was": [], "filled": 3000, "added": 120}])
    hand.sleep(1)
    (line,) = told(api(admin), "images")
    assert (line["logical_bytes"], line["filled_bytes"], line["added_bytes"], line["user"]) == (9000, 3000, 120, "root")


def test_who_has_had_which_address(hand, api, admin, school):
    cc = Host.objects.get(role="cc")
    Host.objects.filter(pk=cc.pk).update(speaks={"networks/set": 99})
    elastic.add(admin, cc.pk, ["192.0.2.1"])
    row = elastic.allocate(school["paul"])
    hand.sleep(3 * HOUR)
    elastic.release(school["paul"], row.pk)
    hand.sleep(HOUR)
    elastic.allocate(school["pia"])
    hand.sleep(HOUR)
    assert [(r["user"], r["hours"], bool(r["to"])) for r in told(api(admin), "addresses")] == [("pia", 1.0, False), ("paul", 3.0, True)]
    assert [r["user"] for r in told(api(school["tina"]), "addresses")] == ["paul"]
    assert [r["user"] for r in told(api(school["pia"]), "addresses")] == ["pia"]
    assert told(api(school["bob"]), "addresses") == []
    assert AddressHolding.objects.filter(ended_at=0).count() == 1


def test_capacity_hour_by_hour(hand, api, admin, school):
    Instance.objects.update(cluster=Host.objects.get(role="cc").pk, state="stopped")
    Instance.objects.filter(name="m0").update(state="running")
    assert capacity.sample() == 1
    assert capacity.sample() == 0
    hand.sleep(HOUR + 1)
    assert capacity.sample() == 1
    line = told(api(admin), "capacity")[0]
    assert (line["cpus"], line["cpus_used"], line["cpus_promised"], line["cpus_free"], line["nodes"]) == (8, 2, 8, 6, 1)
    assert (line["memory_bytes"], line["disk_bytes"]) == (4096 * 2**20, 10_000 * 2**20)
    hand.sleep(-10 * HOUR)
    clock.use(ManualClock(clock.now() - 10 * HOUR))
    assert capacity.sample() == 1, "our clock was set back"
    assert CapacitySample.objects.count() == 3
    assert told(api(school["head"]), "capacity") == [], "the cluster is nobody's in that school"


def test_the_page_shows_prints_and_downloads(school, admin):
    def browser(account):
        client = Client()
        client.force_login(account)
        return client

    head = browser(school["head"])
    page = head.get("/reports/").content.decode()
    assert "11.0 hours, 15.0 processor hours in all" in page
    assert "data-print" in page
    assert [name in page for name in (">m0<", ">m1<", ">m2<", ">m3<")] == [True, True, True, False]
    for name in ("images", "addresses", "capacity", "nonsense"):
        assert head.get(f"/reports/?report={name}").status_code == 200
    assert "--user &#x27;x; reboot&#x27;" in head.get("/reports/?user=x;%20reboot").content.decode(), "what is copied runs nothing else"
    bad = head.get("/reports/?from=%3Cscript%3Ex&group=edu.ab")
    assert bad.status_code == 200
    assert "<script>x" not in bad.content.decode()
    answer = head.get("/reports/?report=instances&group=edu.a.one&csv=1")
    assert answer["Content-Disposition"] == 'attachment; filename="instances.csv"'
    assert answer.content.decode().count("\r\n") == 3
    assert browser(school["paul"]).get("/reports/").status_code == 404
