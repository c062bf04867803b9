"""The first image of a newcomer: uploaded packed, changed through its screen in the browser, published, gone back to, deleted."""

import gzip
import os
import re
import subprocess

import pytest
from playwright.sync_api import expect

from luhyaapi.errors import CODES
from tests.live.cloud.test_browser import browser, page, sign_in

pytestmark = pytest.mark.live
__all__ = ["browser", "page"]
MIB = 1024 * 1024


@pytest.fixture
def lab(cloud, tmp_path):
    """An image that boots at once and has a disk."""
    for part in ("kernel", "initrd"):
        cloud.call("image", "download", "tiny", str(tmp_path / part), "--part", part)
    with (tmp_path / "disk.raw").open("wb") as disk:
        disk.write(os.urandom(510) + b"\x55\xaa")
        disk.truncate(64 * MIB)
    subprocess.run(["qemu-img", "convert", "-O", "vmdk", tmp_path / "disk.raw", tmp_path / "disk.vmdk"], check=True)
    (tmp_path / "disk.vmdk.gz").write_bytes(gzip.compress((tmp_path / "disk.vmdk").read_bytes(), 1))
    cmdline = cloud.json("image", "show", "tiny")["versions"][-1]["cmdline"]
    cloud.call("image", "upload", str(tmp_path / "disk.vmdk.gz"), "--name", "lab", "--kernel", str(tmp_path / "kernel"),
               "--initrd", str(tmp_path / "initrd"), "--cmdline", cmdline)


def written(cloud, instance):
    """What a guest would do to its disk."""
    (disk,) = cloud.home.glob(f"**/instances/{instance}/disk.qcow2")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 7 5M 1M", disk], check=True)


def renewed(cloud, one, two):
    """Both stand on the newest version, version 3, and have the data disks they had."""
    disks = sorted(file.stat().st_ino for file in cloud.home.glob("**/instances/*/data.raw"))
    cloud.call("instance", "stop", one)
    cloud.call("image", "renew", "lab", "--yes")
    made = [cloud.json("instance", "show", each) for each in (one, two)]
    assert [(i["state"], i["image_version"]) for i in made] == [("stopped", 3), ("running", 3)]
    assert sorted(file.stat().st_ino for file in cloud.home.glob("**/instances/*/data.raw")) == disks


def test_a_first_image_from_upload_to_delete(cloud, lab, page, tmp_path):
    sign_in(page, cloud)
    page.goto("/images/")
    page.get_by_role("link", name="lab").first.click()
    page.get_by_role("button", name="Modify").click()
    run = page.get_by_role("button", name="Run", exact=True)
    expect(run).to_be_enabled(timeout=60_000)
    run.click()
    expect(page.locator("html[data-screen=connected]")).to_be_attached(timeout=60_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(run).to_be_enabled(timeout=90_000)
    (space,) = [s for s in cloud.json("workspace", "list") if s["state"] == "editing"]
    cloud.call("instance", "delete", space["instance"]["id"], "--yes", code=CODES["state"].exit)
    written(cloud, space["instance"]["id"])
    page.fill("textarea[name=note]", "a MiB of sevens")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_text("Version 2 of lab is published")).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Look at the image").click()
    expect(page.get_by_text("a MiB of sevens")).to_be_visible()
    first, second = cloud.json("image", "versions", "lab")
    assert second["added_bytes"] < 10_000 < second["size_bytes"] - first["size_bytes"] == MIB
    cloud.call("image", "download", "lab", str(tmp_path / "disk2"))
    assert (tmp_path / "disk2").read_bytes()[5 * MIB : 6 * MIB] == b"\7" * MIB
    cloud.call("instance", "run", "--image", "lab", "--count", "2", "--memory", "128M", "--data-disk", "32M")
    made = [i for i in cloud.json("instance", "list") if i["image"] == "lab"]
    assert [(i["state"], i["image_version"]) for i in made] == [("running", 2)] * 2
    cloud.call("image", "delete", "lab", "--yes", code=CODES["state"].exit)
    page.get_by_label(re.compile("More for version 1")).click()
    page.get_by_role("button", name="Go back to it").click()
    expect(page.get_by_text("version 1 again")).to_be_visible()
    assert cloud.json("image", "versions", "lab")[-1]["sha256"] == first["sha256"]
    renewed(cloud, *(each["id"] for each in made))
    for each in made:
        cloud.call("instance", "delete", each["id"], "--yes")
    cloud.call("image", "delete", "lab", "--yes")
    assert "lab" not in [i["name"] for i in cloud.json("image", "list")]
