"""The same range for two clusters: private ones are their own business, an address of the campus or a public one is one cluster's alone."""

import pytest

from cc.role import ROLE
from luhyadb.models import ElasticAddress, Host, Network

CAMPUS = {"name": "campus", "subnet": "192.0.2.0/24", "mode": "campus", "gateway": "192.0.2.254"}


@pytest.fixture
def clusters(world):
    rows = [world.host("cc", name) for name in ("east", "west")]
    Host.objects.filter(pk__in=[row.pk for row in rows]).update(speaks=ROLE.speaks, subnet="10.231.0.0/24")
    return rows


@pytest.fixture
def made(api, admin, clusters):
    """``made(cluster, ranges, **more)``: the answer to an administrator who asks for a campus network."""
    return lambda cluster, *ranges, **more: api(admin).post(
        "/api/v1/networks/", CAMPUS | {"cluster": cluster, "ranges": list(ranges)} | more, format="json")


@pytest.fixture
def brought(api, admin, clusters):
    return lambda cluster, *ranges: api(admin).post(
        "/api/v1/elastic-addresses/ranges/", {"cluster": cluster, "ranges": list(ranges)}, format="json")


def test_both_have_the_same_private_network(made):
    for cluster in ("east", "west"):
        answer = made(cluster, name="class-7", subnet="10.40.0.0/24", mode="closed", gateway="")
        assert answer.status_code == 201, answer.json()
    assert Network.objects.count() == 2


def test_both_are_in_the_campus_and_lend_different_parts_of_it(made):
    assert made("east", "192.0.2.100-192.0.2.149").status_code == 201
    assert made("west", "192.0.2.150-192.0.2.199").status_code == 201


@pytest.mark.parametrize("ranges", [("192.0.2.149",), ("192.0.2.10-192.0.2.20", "192.0.2.90-192.0.2.120"), ()])
def test_an_address_of_the_campus_is_lent_by_one_of_them(made, ranges):
    made("east", "192.0.2.100-192.0.2.149")
    answer = made("west", *ranges)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "conflict", "ranges")
    assert answer.json()["why"] == "campus of east lends 192.0.2.100-192.0.2.149"
    assert Network.objects.count() == 1


def test_a_public_address_is_one_clusters(made, brought):
    assert brought("east", "192.0.2.10-192.0.2.20").status_code == 201
    again = brought("west", "192.0.2.20-192.0.2.30")
    assert (again.status_code, again.json()["code"], again.json()["why"]) == (409, "exists", "the cluster east has it")
    lent = made("west", "192.0.2.15-192.0.2.40")
    assert (lent.status_code, lent.json()["field"], lent.json()["why"]) == (409, "ranges", "the cluster east has it")
    assert made("west", "192.0.2.21-192.0.2.40").status_code == 201
    taken = brought("east", "192.0.2.40-192.0.2.41")
    assert (taken.status_code, taken.json()["why"]) == (409, "campus of west lends some of them")
    assert ElasticAddress.objects.count() == 11


def test_what_the_other_gave_up_may_be_had(api, admin, made, brought):
    kept = made("east", "192.0.2.100-192.0.2.149").json()
    api(admin).delete(f"/api/v1/networks/{kept['id']}/")
    assert made("west", "192.0.2.100-192.0.2.149").status_code == 201


def test_an_address_of_a_host_is_lent_by_nobody(made, world):
    world.host("nc", "lab-9", address="https://192.0.2.120:8602")
    answer = made("east", "192.0.2.100-192.0.2.149")
    assert (answer.status_code, answer.json()["why"]) == (409, "the host lab-9 is at https://192.0.2.120:8602")
    assert made("east", "192.0.2.100-192.0.2.119", "192.0.2.121-192.0.2.149").status_code == 201


def test_public_addresses_may_be_of_the_campus_beside_what_is_lent_there(made, brought):
    assert made("east", "192.0.2.100-192.0.2.149").status_code == 201
    assert brought("east", "192.0.2.10-192.0.2.20").status_code == 201
    for taken in ("192.0.2.149-192.0.2.150", "192.0.2.254"):
        answer = brought("east", taken)
        assert (answer.status_code, answer.json()["why"]) == (409, "campus of this cluster is 192.0.2.0/24"), taken
    assert brought("west", "192.0.2.253").status_code == 201
    for taken in ("192.0.2.20-192.0.2.30", "192.0.2.253"):
        assert made("west", taken, name="other").json()["field"] == "ranges", taken
    assert made("west", "192.0.2.30", name="other", gateway="192.0.2.253").json()["field"] == "subnet", "which is no router then"
