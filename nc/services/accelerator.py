"""The accelerator verdict of this node, as the beat, the doctor and an administrator ask for it."""

from __future__ import annotations

from luhyaapi.conf import Settings
from nc.drivers import kvm_proof
from nc.drivers.kvm_proof import Proof

__all__ = ["Proof", "again", "verdict"]


def verdict(settings: Settings) -> Proof:
    """What guests of this node run with and why; tried once per boot of the host, else remembered."""
    return kvm_proof.prove(settings)


def again(settings: Settings) -> Proof:
    """Forget what was proved and try anew: the host's virtualization was just switched on, or repaired."""
    kvm_proof.forget(settings)
    return kvm_proof.prove(settings)
