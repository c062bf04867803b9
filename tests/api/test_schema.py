"""The API's own description: valid, complete, and matched by what is answered."""

import pytest
from django.core.management import call_command
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from luhyadb.models import ElasticAddress, Forward, Host


@pytest.fixture(scope="module")
def schema():
    GENERATOR_STATS.reset()
    made = SchemaGenerator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS, GENERATOR_STATS.emit_summary()
    return made


def test_is_valid_openapi_without_warnings(schema):
    validate_schema(schema)


def test_every_method_tells_its_errors_and_needs_a_token(schema):
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            if path.startswith("/api/schema"):
                continue
            assert {"4XX", "5XX"} <= set(told["responses"]), (path, method)
            is_open = path.endswith(("/login/", "/account-requests/ask/", "/account-requests/state/"))
            assert is_open or told["security"], (path, method)
            if method == "post" and not is_open:
                assert "Idempotency-Key" in [p["name"] for p in told["parameters"]], path


def test_names_its_operations_once(schema):
    names = [told["operationId"] for methods in schema["paths"].values() for told in methods.values()]
    assert len(names) == len(set(names))


def test_is_served_with_its_reader(db, client):
    assert client.get("/api/schema/").status_code == 200
    page = client.get("/api/docs/")
    assert page.status_code == 200
    assert b"unpkg" not in page.content
    assert b"jsdelivr" not in page.content


def test_the_answers_have_the_described_fields(schema, world, admin, api):
    world.cluster()
    image = world.image(admin)
    row = world.instance(admin, image)
    client = api(admin)
    group = client.post("/api/v1/security-groups/", {"name": "web"}, format="json").json()["id"]
    cluster = Host.objects.get(role="cc")
    ElasticAddress.objects.create(id="eip-00000001", cluster=cluster, address="192.0.2.1", live_address="192.0.2.1", number=1, created_at=1)
    Forward.objects.create(id="fwd-00000001", instance=row, guest_port=22, created_at=1)
    shapes = schema["components"]["schemas"]
    for path, shape in (
        (f"/api/v1/instances/{row.pk}/", "OneInstanceShape"), (f"/api/v1/images/{image.pk}/", "ImageShape"),
        (f"/api/v1/tasks/{row.task}/", "TaskShape"), ("/api/v1/hosts/walrus/", "HostShape"), ("/api/v1/users/me/", "AccountShape"),
        ("/api/v1/audit/head/", "StandingShape"), ("/api/v1/status/", "StatusShape"), (f"/api/v1/instances/{row.pk}/why/", "WhyShape"),
        (f"/api/v1/instances/{row.pk}/rules/", "RulesShape"), (f"/api/v1/instances/{row.pk}/forwards/fwd-00000001/", "AskedForwardShape"),
        (f"/api/v1/security-groups/{group}/", "SecurityGroupShape"), ("/api/v1/elastic-addresses/192.0.2.1/", "ElasticShape"),
    ):
        name = shape if shape in shapes else shape.removesuffix("Shape")
        assert set(client.get(path).json()) == set(shapes[name]["properties"]), path


def test_tables_and_migrations_say_the_same(db):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
