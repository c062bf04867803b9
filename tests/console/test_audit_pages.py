"""The pages of the record: what administrators see and filter, and the history of one's own things."""

import html

import pytest
from django.test import Client

from clc.services import audit, events
from clc.web.pages import audit as audit_pages
from luhyadb.models import Event, Instance


def browser(account, language="en"):
    client = Client()
    client.force_login(account)
    client.cookies["django_language"] = language
    return client


def seen(client, where, status=200):
    answer = client.get(where)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return html.unescape(answer.content.decode())


@pytest.fixture
def row(world, admin, user):
    world.cluster()
    world.image(admin)
    browser(user).post("/instances/run/", {"image": "tiny", "name": "mine"})
    return Instance.objects.get()


def test_an_administrator_reads_who_did_what(admin, user, row):
    browser(admin).post(f"/instances/{row.pk}/delete/")
    audit.seal()
    text = seen(browser(admin), "/audit/")
    assert "for ada" in text
    assert f'href="/instances/{row.pk}/"' in text
    assert str(audit.head()) in text
    assert "127.0.0.1" in text
    assert "实例" in seen(browser(admin, "zh-hans"), "/audit/")
    seen(browser(user), "/audit/", 404)


def test_the_record_is_filtered_and_its_pages_keep_the_filter(admin, user, row):
    for n in range(60):
        events.record("network", "net-00000001", "network made", owner=admin, actor=admin, name=f"<b>class-{n}")
    client = browser(admin)
    text = seen(client, "/audit/?subject=net-00000001&person=root")
    assert "instance defined" not in text
    assert "<b>class-59" in text
    assert "<b>class-59" not in client.get("/audit/?subject=net-00000001").content.decode(), "nothing of it is taken for a tag"
    following = text.split('rel="next" href="')[1].split('"')[0]
    assert "subject=net-00000001" in following
    assert "person=root" in following
    assert "class-0" in seen(client, f"/audit/{following}")
    assert "Nothing fits this filter" in seen(client, "/audit/?person=nobody")
    assert "export/?person=nobody" in seen(client, "/audit/?person=nobody")
    Event.objects.all().delete()
    assert "Nothing happened yet" in seen(client, "/audit/")
    assert client.get("/audit/?since=nonsense").status_code == 422


def test_an_export_by_the_page_needs_no_token(admin, user, row):
    audit.seal()
    answer = browser(admin).get("/api/v1/audit/export/?form=csv")
    assert answer["Content-Disposition"] == 'attachment; filename="audit.csv"'
    assert row.pk in b"".join(answer.streaming_content).decode()
    assert browser(user).get("/api/v1/audit/export/").status_code == 403


def test_everybody_reads_the_history_of_what_is_theirs(admin, user, other, row):
    where = f"/history/{row.pk}/"
    assert f'href="{where}"' in seen(browser(user), f"/instances/{row.pk}/")
    assert "instance defined" in seen(browser(user), where)
    seen(browser(other), where, 404)
    browser(admin).post(f"/instances/{row.pk}/delete/")
    text = seen(browser(user), where)
    assert "root" in text
    own = Event.objects.filter(subject=row.pk, actor=admin)
    own.update(origin="192.0.2.77")
    assert "192.0.2.77" not in seen(browser(user), where), "from where an administrator came is not for everybody"
    assert "192.0.2.77" in seen(browser(admin), where)
    assert "person=ada" in seen(browser(admin), "/people/of/ada/")


def test_a_group_of_people_and_one_of_rules_lead_to_pages_of_their_own():
    found = [audit_pages._url("group", subject) for subject in ("grp-00000001", "sgr-00000001", "")]
    assert found == ["/groups/grp-00000001/", "/security-groups/sgr-00000001/", ""]
