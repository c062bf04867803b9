"""Into a guest through the cloud: its serial console, by the command line and in a browser, and its ports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.live.cloud.test_browser import browser, page, sign_in

pytestmark = pytest.mark.live
__all__ = ["browser", "page"]


@pytest.fixture(scope="module")
def machine(cloud):
    made = cloud.json("instance", "run", "--image", "tiny", "--name", "serial")
    assert cloud.soon(lambda: "address" in cloud.call("instance", "log", made["id"]))
    yield made["id"]
    cloud.call("instance", "delete", made["id"], "--yes")


def call(cloud, *words, typed):
    return subprocess.run(
        [Path(sys.executable).with_name("educloud"), "instance", *words], cwd=cloud.home, env=cloud.environ, input=typed.encode(),
        capture_output=True, timeout=60, check=False,
    )


def test_by_the_command_line_a_shell_and_a_port(cloud, machine):
    done = call(cloud, "console", machine, typed="echo answer=$((6*7))\r")
    assert done.returncode == 0, done.stderr
    assert machine.encode() in done.stdout, "what was said before comes first"
    assert b"answer=42" in done.stdout
    assert "answer=42" in cloud.call("instance", "log", machine)
    done = call(cloud, "tunnel", machine, "80", typed="GET / HTTP/1.0\r\n\r\n")
    assert done.returncode == 0, done.stderr
    assert machine.encode() in done.stdout
    done = call(cloud, "tunnel", machine, "81", typed="")
    assert done.returncode
    assert b"Nothing listens at port 81" in done.stderr


def test_a_page_shows_it_and_comes_back_with_its_machine(page, cloud, machine):
    sign_in(page, cloud)
    page.goto(f"/instances/{machine}/?tab=serial")
    expect(page.locator("html[data-serial=connected]")).to_be_attached(timeout=60_000)
    rows = page.locator(".xterm-rows")
    expect(rows).to_contain_text("educloud:")
    page.locator("[data-serial-view]").click()
    page.keyboard.type("printf '\\033]0;stolen\\007\\033[6n'; echo seen=$((40+2))\n")
    expect(rows).to_contain_text("seen=42", timeout=20_000)
    assert "stolen" not in page.title()
    # no answer to the question was typed at the shell
    page.keyboard.type("echo then=$((1+1))\n")
    expect(rows).to_contain_text("then=2", timeout=20_000)
    assert not re.search(r"\d+;\d+R", rows.inner_text())
    box = page.locator(".xterm-screen").bounding_box()
    assert box["width"] > 300
    assert box["height"] > 200
    cloud.call("instance", "stop", machine, "--grace", "0")
    expect(page.locator("html[data-serial=ended]")).to_be_attached(timeout=60_000)
    expect(page.locator("[data-serial-cover]")).to_contain_text("has no serial console now")
    cloud.call("instance", "start", machine)
    expect(page.locator("html[data-serial=connected]")).to_be_attached(timeout=60_000)
    expect(rows).to_contain_text("educloud:", timeout=30_000)
