"""What a host tells of itself."""

import pytest

from luhyaapi import conf, facts


class Orphan(facts.Machine):
    """A process whose parent is another by now."""

    _parent = -1


@pytest.mark.parametrize(("machine", "told"), [(facts.Machine(), {"hypervisor": "ok"}), (Orphan(), {"hypervisor": "ok", "supervisor": "is gone"})])
def test_a_supervisor_that_is_gone_is_told(machine, told, tmp_path):
    before = facts.use(machine)
    try:
        found = facts.host_facts("nc-00000001", conf.Settings(host={"state": tmp_path}), services={"hypervisor": "ok"})
    finally:
        facts.use(before)
    assert found.services == told
