"""The lineage of an image as text."""

from deploy.cli.lineage import drawn


def node(version, lane, parent=None):
    return {"version": version, "lane": lane, "parent_version": parent, "came": "change"}


def test_a_line():
    assert drawn([node(1, 0), node(2, 0, 1)]) == ["*", "*"]


def test_two_branches_one_of_them_goes_on():
    rows = [node(1, 0), node(2, 0, 1), node(3, 1, 1), node(4, 1, 3), node(5, 0, 2), node(6, 2, 2)]
    assert drawn(rows) == [
        "    *",
        "*   |",
        "| * |",
        "| * |",
        "*-|-'",
        "*-'",
    ]


def test_a_parent_that_is_not_shown_has_no_line():
    assert drawn([node(3, 0, 1), node(4, 1, 1)]) == ["  *", "*"]


def test_nothing():
    assert drawn([]) == []
