"""A node's process without a cloud: ``python -m tests.support.lazy_node STATE LIBVIRT URL SPEC`` starts a guest, or goes on with it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from luhyaapi import clock, conf, log
from luhyaapi.contracts.commands import ImageFetch
from luhyaapi.contracts.specs import MachineSpec
from luhyaapi.transfer.cache import BlobCache
from nc.drivers.fake import FakeNetwork
from nc.drivers.libvirt_hypervisor import LibvirtHypervisor
from nc.handlers.images import FetchImage
from nc.services.domains import Domains, Hands


def main(state: Path, libvirt: str, url: str, spec: MachineSpec) -> None:
    """Work until it is killed."""
    log.setup("INFO")
    settings = conf.Settings(host={"state": state}, hypervisor={"uri": libvirt, "accelerator": "tcg"})
    cache = BlobCache(state / "cache", 1024, 0)
    hands = Hands(LibvirtHypervisor(settings), FakeNetwork(state / "fake"), cache)
    domains = Domains(settings, hands, "nc-00000001", lambda _facts: None)
    domains.standing.resume()
    domains.exports.go_on()
    if domains.wanted.read(spec.instance) is None:
        agent = SimpleNamespace(identity=state, boss="cc-00000001")
        services = SimpleNamespace(agent=agent, cache=cache, domains=domains)
        job: Any = SimpleNamespace(
            task="tsk-00000001", services=services, checkpoint=lambda: None, cancelled=lambda: False, progress=lambda *_: None,
        )
        FetchImage().run(job, ImageFetch(image=spec.image.image, ref=spec.image, url=url, ticket="t", lazy=True))
        domains.start(job, spec, 1, 1)
    while True:
        domains.reconcile(set())
        domains.exports.go_on()
        clock.sleep(0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], MachineSpec.model_validate_json(sys.argv[4]))
