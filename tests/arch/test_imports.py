"""The import contract is kept, and has teeth: each violation below is caught by the contract that names it."""

from __future__ import annotations

import copy
import functools

import pytest
from grimp import ImportGraph
from importlinter import configuration
from importlinter.application import use_cases

from tests.arch import house

configuration.configure()


@functools.cache
def _read() -> tuple[use_cases.UserOptions, ImportGraph]:
    options = use_cases.read_user_options(str(house.ROOT / ".importlinter"))
    use_cases._register_contract_types(options)
    graph = use_cases._build_graph(
        root_package_names=options.session_options["root_packages"], include_external_packages=True,
        exclude_type_checking_imports=True, cache_dir=None, verbose=False,
    )
    return options, graph


def _broken(graph: ImportGraph, *only: str) -> dict[str, str]:
    options, _ = _read()
    wanted = only or tuple(c["id"] for c in options.contracts_options)
    report = use_cases._build_report(
        graph=graph, graph_building_duration=0, user_options=options, limit_to_contracts=wanted,
        show_timings=False, verbose=False,
    )
    assert not report.invalid_contract_options, report.invalid_contract_options
    return {c.name: str(check.metadata)[:2000] for c, check in report.get_contracts_and_checks() if not check.kept}


def test_the_import_contract_is_kept() -> None:
    _, graph = _read()
    assert _broken(graph) == {}


@pytest.mark.parametrize(("importer", "imported", "contract"), [
    ("clc.services.tasks", "cc.services.flows", "tree"),
    ("luhyaapi.agent", "clc.role", "tree"),
    ("luhyadb.outbox", "clc.services.tasks", "tree"),
    ("nc.services.domains", "luhyadb.outbox", "hands-do-not-remember"),
    ("walrus.services.library", "django", "hands-do-not-remember"),
    ("cc.services.flows", "cc.handlers", "role"),
    ("nc.drivers.fake", "nc.services.domains", "role"),
    ("clc.reducers", "clc.role", "role"),
    ("luhyaapi.machines", "luhyaapi.wire.topology", "api"),
    ("luhyaapi.wire.memory", "luhyaapi.agent", "api"),
    ("luhyaapi.errors", "luhyaapi.log", "api"),
    ("luhyaapi.transfer.cache", "luhyaapi.journal", "api"),
    ("luhyadb.models.tasks", "luhyadb.outbox", "tables"),
    ("luhyaapi.contracts.reports", "django", "pure"),
    ("nc.drivers.libvirt_xml", "libvirt", "pure"),
    ("luhyaapi.log", "django", "no-web-framework-below"),
    ("cc.services.flows", "celery", "one-broker-door"),
    ("luhyaapi.command.worker", "pika", "one-broker-door"),
    ("clc.services.pictures", "pymemcache", "one-board"),
    ("nc.beat", "luhyaapi.status.board", "board-of-the-clc"),
    ("nc.services.domains", "libvirt", "one-libvirt-door"),
    ("nc.drivers.fake", "nc.drivers.bridge_network", "drivers-alone"),
    ("cc.drivers.linux", "cc.drivers.fake", "edges-alone"),
    ("luhyaapi.edge.nft", "luhyaapi.edge.iptables", "rules-alone"),
    ("luhyaapi.transfer.fetch.request", "luhyaapi.transfer.curl", "protocols-alone"),
    ("walrus.drivers.local", "walrus.drivers.s3", "stores-alone"),
    ("clc.drivers.ldap_directory", "clc.drivers.oidc_provider", "directories-alone"),
])
def test_a_wrong_import_breaks_its_contract(importer: str, imported: str, contract: str) -> None:
    _, graph = _read()
    worse = copy.deepcopy(graph)
    for name in (importer, imported):
        if name not in worse.modules:
            assert name.split(".")[0] not in house.FOLDERS, f"{name} is not there any more"
            worse.add_module(name, is_squashed=True)
    worse.add_import(importer=importer, imported=imported, line_number=1, line_contents=f"import {imported}")
    assert _broken(worse, contract)


@pytest.mark.parametrize(("drawer", "contract"), [("nc.toolbox", "role"), ("luhyaapi.toolbox", "api"), ("luhyadb.toolbox", "tables")])
def test_a_module_without_a_layer_breaks_the_contract(drawer: str, contract: str) -> None:
    _, graph = _read()
    worse = copy.deepcopy(graph)
    worse.add_module(drawer)
    assert _broken(worse, contract)


DOORS = {
    "celery": ("luhyaapi.wire.amqp.broker", "luhyaapi.wire.amqp.up"),
    "kombu": ("luhyaapi.wire.amqp.broker",),
    "pika": ("luhyaapi.wire.amqp.broker", "luhyaapi.wire.amqp.down"),
    "amqp": ("luhyaapi.wire.amqp.broker",),
    "pymemcache": ("luhyaapi.status.board",),
    "sqlite3": ("luhyaapi.journal", "walrus.services.packs"),
    "subprocess": ("luhyaapi.process",),
    "time": ("luhyaapi.clock",),
    "random": (),
    "uuid": ("nc.drivers.libvirt_xml",),  # uuid5 only: computed from the instance, nothing random
    "secrets": ("luhyaapi.ids",),
    "libvirt": ("nc.drivers.libvirt_link", "nc.drivers.libvirt_hypervisor"),
    "libvirt_qemu": ("nc.drivers.libvirt_base",),
    "ctypes": ("luhyaapi.edge.libnft", "nc.drivers.metadata_bridge"),
    "botocore": ("walrus.drivers.s3",),
    "ldap": ("clc.drivers.ldap_directory",),
    "fido2": ("clc.services.passkeys",),
    "joserfc": ("clc.drivers.oidc_provider",),
}


@pytest.mark.parametrize("package", DOORS)
def test_each_outside_thing_has_one_door(package: str) -> None:
    through = {
        m.name for m in house.modules(*(f for f in house.FOLDERS if f != "deploy"))
        for name in m.imports if name.split(".")[0] == package
    }
    assert through <= set(DOORS[package]), f"{package} is used past its door"


def test_few_run_an_event_loop() -> None:
    users = {m.name for m in house.modules() for name in m.imports if name.split(".")[0] == "asyncio"}
    assert {u for u in users if not u.startswith("clc.web.live.")} <= {
        "deploy.asgi", "deploy.processes", "nc.drivers.metadata_http",  # of guests there are many, who may be slow on purpose
        "deploy.cli.line",  # what the library's client without one does to TLS, that module says
    }, users
