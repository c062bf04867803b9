"""The disks of simulated guests are those qemu-img knows: each reads what the other wrote."""

import os
import subprocess

import pytest

from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Failed, Refused
from nc.services import disks
from tests.simulator import overlays
from tests.simulator.overlays import CLUSTER


def sevens(overlay, *numbers):
    for number in numbers:
        with overlays.opened(overlay) as opened:
            opened.write(number, bytes([number]) * CLUSTER)


def known(overlay):
    """What a map says, without how it is cut into pieces."""
    return [
        (at // CLUSTER, each["present"], each["data"], each["offset"] + at - each["start"] if each["data"] else None)
        for each in disks.mapped(overlay) for at in range(each["start"], each["start"] + each["length"], CLUSTER)
    ]


@pytest.mark.parametrize("ours", [False, True])
def test_each_reads_what_the_other_made(tmp_path, ours):
    base = tmp_path / "base"
    base.write_bytes(os.urandom(20 * CLUSTER))
    if ours:
        with overlays.installed():
            made = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    else:
        made = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    sevens(made, 3, 19, 3)
    theirs = known(made)
    with overlays.installed():
        assert known(made) == theirs
        assert disks.overlay(base, DiskFormat.RAW, made) == made
        with pytest.raises(Refused, match="another image"):
            disks.overlay(tmp_path / "disk.qcow2", DiskFormat.RAW, made)
    assert disks.overlay(base, DiskFormat.RAW, made) == made
    subprocess.run(["qemu-img", "check", "-q", made], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", made, tmp_path / "whole"], check=True)
    expected = bytearray(base.read_bytes())
    for number in (3, 19):
        expected[number * CLUSTER : (number + 1) * CLUSTER] = bytes([number]) * CLUSTER
    assert (tmp_path / "whole").read_bytes() == expected


def test_what_is_no_overlay(tmp_path):
    (tmp_path / "disk").write_bytes(b"no")
    with overlays.installed(), pytest.raises(Failed, match="ended with 1"):
        disks.mapped(tmp_path / "disk")
