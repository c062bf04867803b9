"""A node without a cloud: its domains over a pretended hypervisor and network, and what it told."""

from __future__ import annotations

import hashlib
import threading
from types import SimpleNamespace

from luhyaapi import conf
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec
from luhyaapi.contracts.vocabulary import DiskFormat, Part
from luhyaapi.transfer.cache import BlobCache
from nc.drivers.fake import FakeHypervisor, FakeNetwork
from nc.services.domains import Domains, Hands

ONE = "ins-0000000a"
JOB = SimpleNamespace(task="tsk-00000001", checkpoint=lambda: None, cancelled=lambda: False)
PATIENCE_S = 10.0


class Held(FakeHypervisor):
    """``hold(verb)``: its next use waits, after it was done, until let go."""

    def __init__(self, folder):
        super().__init__(folder)
        self.at = {}

    def hold(self, verb):
        self.at[verb] = (threading.Event(), threading.Event())
        return self.at[verb]

    def _met(self, verb):
        if verb in self.at:
            reached, let_go = self.at.pop(verb)
            reached.set()
            assert let_go.wait(PATIENCE_S)

    def inspect(self, instance):
        facts = super().inspect(instance)
        self._met("inspect")
        return facts

    def list(self):
        facts = super().list()
        self._met("list")
        return facts

    def remove(self, instance):
        super().remove(instance)
        self._met("remove")


class Node:
    def __init__(self, state):
        cache = BlobCache(state / "cache", 1024, 0)
        (state / "cache" / "parts" / "kernel").write_bytes(b"kernel")
        digest = hashlib.sha256(b"kernel").hexdigest()
        cache.adopt(state / "cache" / "parts" / "kernel", digest)
        blob = Blob(part=Part.KERNEL, sha256=digest, index=digest, size=6, format=DiskFormat.RAW)
        self.image = ImageRef(image="img-00000001", version=1, blobs=(blob,), cmdline="")
        self.driver, self.network, self.told, self.gen = Held(state / "fake"), FakeNetwork(state / "fake"), [], 0
        self.settings, self.hands = conf.Settings(host={"state": state}), Hands(self.driver, self.network, cache)
        self.domains = Domains(self.settings, self.hands, "nc-00000001", self.told.append)
        self.domains.reconcile(set())

    def start(self, instance=ONE, **over):
        spec = MachineSpec(instance=instance, name="trial", cpus=1, memory_mib=96, image=self.image, display_port=8700, **over)
        self.domains.start(JOB, spec, self.next(), 1)

    def stop(self, instance=ONE):
        self.domains.stop(JOB, instance, 0, self.next(), 1)

    def delete(self, instance=ONE):
        self.domains.delete(instance, self.next(), 1)

    def next(self):
        self.gen += 1
        return self.gen

    @property
    def folder(self):
        return self.domains.wanted.folder(ONE)

    @property
    def states(self):
        return [facts.state for facts in self.told]
