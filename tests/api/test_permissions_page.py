"""The example of docs/permissions.md, line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clc.services import shares
from luhyaapi.contracts.vocabulary import Verb
from luhyadb import scope
from luhyadb.models import Account, Image, Instance, Share
from luhyadb.ready_made import ROLES

PAGE = (Path(__file__).resolve().parents[2] / "docs/permissions.md").read_text("utf-8")


def table(*heads: str) -> list[dict[str, str]]:
    """The rows of the page's table with these heads."""
    lines = iter(PAGE.splitlines())
    next(line for line in lines if _cells(line) == list(heads))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        rows.append(dict(zip(heads, _cells(line), strict=True)))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


ASKED = table("who", "verb", "what", "may", "why")


@pytest.fixture
def school(world, admin):
    """What the page says there is."""
    world.cluster()
    for row in table("person", "access role", "group"):
        world.group(row["group"])
        world.account(row["person"], row["access role"], row["group"])
    for row in table("resource", "kind", "owner", "group"):
        owner = Account.objects.get(username=row["owner"])
        image = world.image(owner, row["resource"])
        if row["kind"] == "instance":
            Instance.objects.filter(pk=world.instance(owner, image, row["resource"]).pk).update(group=world.group(row["group"]))
        Share.objects.filter(subject=image.pk).delete()
        Image.objects.filter(pk=image.pk).update(group=world.group(row["group"]))
    for row in table("shared", "for", "with"):
        of = resource(row["shared"])
        shares.share(admin, of, [row["for"]], **{"group" if "." in row["with"] else "person": row["with"]})


def resource(name: str) -> Image | Instance:
    return Instance.objects.filter(name=name).first() or Image.objects.get(name=name)


def test_the_page_has_its_examples():
    assert len(ASKED) >= 12
    assert {row["may"] for row in ASKED} == {"yes", "no"}


@pytest.mark.parametrize("row", ASKED, ids=lambda row: f"{row['who']} {row['verb']} {row['what']}")
def test_a_line_of_the_page(school, api, row):
    who, of, verb = Account.objects.get(username=row["who"]), resource(row["what"]), Verb(row["verb"])
    found = scope.reasons(who, of, verb)
    assert bool(found) == (row["may"] == "yes")
    assert scope.visible_to(who, type(of), verb).filter(pk=of.pk).exists() == bool(found)
    said = {"owner": "it is theirs", "role": "{0.name} at {0.at}", "share": "shared with {0.at}"}
    assert not found or row["why"] in [said[each.by].format(each) for each in found]
    kind = "images" if isinstance(of, Image) else "instances"
    if not scope.reasons(who, of, Verb.READ):
        assert api(who).get(f"/api/v1/{kind}/{of.pk}/").status_code == 404


def test_the_ready_made_roles_are_those_of_the_page():
    heads = ("ready-made role", "host", "image", "instance", "account")
    shown = {row[heads[0]]: {kind: set(re.findall("[a-z]+", row[kind])) for kind in heads[1:] if row[kind]} for row in table(*heads)}
    assert shown == {name: {str(kind): set(map(str, verbs)) for kind, verbs in permissions.items()} for name, permissions in ROLES.items()}
