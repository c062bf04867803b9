"""``python -m tests.support.pictures``: the README's pictures, taken of a real cloud with real guests, into docs/images."""

import contextlib
import sys

from playwright.sync_api import Browser, Page, expect, sync_playwright

from bench.cloud import fresh
from tests.support.real_cloud import ROOT, Cloud

IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
GUESTS = ("physics-lab", "web-server", "homework", "exam-room")


def main() -> int:
    """Bring a cloud up, run a few guests, take the pictures, leave nothing."""
    with fresh() as cloud, sync_playwright() as play:
        cloud.host("up")
        made = {name: cloud.json("instance", "run", "--image", "tiny", "--name", name)["id"] for name in GUESTS}
        cloud.call("instance", "stop", made["homework"])
        with contextlib.closing(play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)) as browser:
            page = _signed_in(browser, cloud)
            _take(page, "console.png")
            page.goto("/portal/")
            _take(page, "portal.png")
            page.goto(f"/instances/{made['web-server']}/screen/")
            expect(page.locator("html[data-screen=connected]")).to_be_attached(timeout=60_000)
            page.wait_for_timeout(3000)
            _take(page, "screen.png")
    return 0


def _signed_in(browser: Browser, cloud: Cloud) -> Page:
    context = browser.new_context(base_url=cloud.url, viewport={"width": 1360, "height": 900}, locale="en", color_scheme="light")
    page = context.new_page()
    page.goto("/")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", cloud.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1").first).to_be_visible()
    return page


def _take(page: Page, name: str) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / name)


if __name__ == "__main__":
    sys.exit(main())
