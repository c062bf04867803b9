"""What the client offers is what there is."""

from __future__ import annotations

from typing import get_args

from deploy.cli.networks import Mode
from luhyaapi.contracts.vocabulary import NetworkMode


def test_every_mode_of_a_network_can_be_asked_for() -> None:
    assert set(get_args(Mode)) == set(NetworkMode)
