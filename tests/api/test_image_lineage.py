"""Where versions come from: branches, ways back, images made from others; as JSON, as text and as a drawing."""

import pytest
from django.test import Client
from lxml import html

from clc.services import image_pictures, images, lineage
from clc.web.pages import timeline
from luhyadb.models import Image
from tests.support.clc_world import sha256


def version(image, parent, note=""):
    made = images.add_version(image, parent, note, "")
    blob = {"part": "disk", "sha256": sha256(f"{image.name}{made.version}"), "index": sha256("i"), "size": 10, "format": "raw", "virtual_size": 10}
    images.publish(made, [blob], [])
    return made


@pytest.fixture
def lab(world, admin):
    """Two people change version 1; the first goes on, somebody goes back to 1, and another image is made from 2."""
    image = world.image(admin, "lab")
    first = image.versions.get()
    second = version(image, first, "office\nand more")
    version(image, first, "<b>geometry</b>")
    version(image, second)
    images.roll_back(admin, "lab", 1)
    version(images.like(image, "office", admin, ""), second)
    return image


def test_every_version_with_its_way(lab, api, user):
    found = api(user).get("/api/v1/images/lab/lineage/").json()["results"]
    assert [(v["version"], v["came"], v["parent"], v["lane"]) for v in found] == [
        (1, "upload", None, 0), (2, "change", "lab:1", 0), (3, "change", "lab:1", 1), (4, "change", "lab:2", 0), (5, "back", "lab:1", 0),
    ]
    assert found[1]["made"] == ["office:1"]
    (copy,) = api(user).get("/api/v1/images/office/lineage/").json()["results"]
    assert (copy["came"], copy["parent"], copy["parent_version"]) == ("copy", "lab:2", None)


def test_what_is_retired_keeps_its_place(lab, admin):
    images.retire(admin, "lab", 2)
    Image.objects.filter(name="office").update(retired=True)
    found = lineage.of(lab)
    assert (found[1]["state"], found[1]["made"], found[3]["parent_version"]) == ("retired", [], 2)


def test_the_drawing_has_each_version_and_each_line_once(lab):
    drawing = timeline.of(lab)
    assert [row["version"] for row in drawing["rows"]] == [5, 4, 3, 2, 1]
    assert len(drawing["points"]) == len({(p["x"], p["y"]) for p in drawing["points"]}) == 5
    assert sorted(line["came"] for line in drawing["lines"]) == ["back", "change", "change", "change"]
    assert all(0 < p["x"] < drawing["width"] and 0 < p["y"] < drawing["height"] for p in drawing["points"])


@pytest.mark.parametrize(("language", "back"), [("en", "lab:1 again"), ("zh-hans", "回到 lab:1")])
def test_the_page_shows_it_without_script(lab, admin, language, back):
    client = Client()
    client.force_login(admin)
    client.cookies["django_language"] = language
    page = html.fromstring(client.get(f"/images/{lab.pk}/").content)
    (card,) = page.find_class("lineage")
    rows = [" ".join(li.text_content().split()) for li in card.iterfind("ol/li")]
    assert len(rows) == len(card.findall("svg/circle")) == 5
    assert back in rows[0]
    assert "office:1" in rows[3]
    assert "<b>geometry</b>" in rows[2]
    assert not card.findall(".//script")
    assert image_pictures.image(lab)["versions"]
