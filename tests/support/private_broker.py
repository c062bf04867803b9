"""A broker and a board of a test's own, as ``make up`` would start them, with nothing else of the host; gone without a trace."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.host import configs, plan
from deploy.host.down import down
from deploy.host.up import services_up
from luhyaapi.conf import Broker

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def services(port_base: str, *roles: str) -> Iterator[plan.Plan]:
    """The plan of a host with these roles, all five when none is named, whose broker and board run."""
    home = Path(tempfile.mkdtemp(prefix="edu-broker-"))
    home.chmod(0o755)
    made = plan.make(
        {"EDUCLOUD_HOME": str(home), "EDUCLOUD_PORT_BASE": port_base}, ROOT, Path(sys.executable), Path("/nonexistent"),
        choices=plan.Choices(roles=roles),
    )
    try:
        services_up(made)
        yield made
    finally:
        down(made)
        shutil.rmtree(home)


def control(made: plan.Plan, *words: str) -> None:
    """As an operator's ``rabbitmqctl`` there."""
    environ = {**configs._broker_environ(made), "HOME": str(made.home / "broker"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    subprocess.run(["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", *words], env=environ, check=True, capture_output=True, timeout=60)


def broker_of(made: plan.Plan, boss: str) -> Broker:
    """How the boss of that role reaches its broker."""
    return Broker(port=made.ports["amqp"], admin_port=made.ports["management"], vhost=boss, user=boss,
                  password_file=made.secret(boss, "broker-password"))
