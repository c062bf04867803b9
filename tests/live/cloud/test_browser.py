"""A person in a real browser: signs in, presses Run, sees the guest's screen, stops it."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright

pytestmark = pytest.mark.live
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, cloud):
    context = browser.new_context(base_url=cloud.url, viewport={"width": 1360, "height": 900}, locale="en")
    page = context.new_page()
    outside = []
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((cloud.url, "ws://127.0.0.1", "data:", "blob:")) else None)
    # what pytest shows when a test fails
    page.on("requestfailed", lambda r: print("lost", r.method, r.url, r.failure))
    page.on("response", lambda r: print(r.status, r.url) if r.status >= 400 else None)
    page.on("console", lambda m: print("console", m.type, m.text))
    page.on("websocket", lambda w: w.on("close", lambda _: print("closed", w.url)))
    faults = []
    page.on("pageerror", lambda e: faults.append(str(e)))
    yield page
    context.close()
    assert not outside
    assert not faults


@pytest.fixture
def running(cloud):
    made = cloud.json("instance", "run", "--image", "tiny")["id"]
    yield made
    cloud.call("instance", "delete", made, "--yes")


def sign_in(page, cloud):
    page.goto("/")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", cloud.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1").first).to_be_visible()
    if page.get_by_role("button", name="English").count():  # the account remembers what it chose last
        page.get_by_role("button", name="English").first.click()
        expect(page.get_by_role("button", name="中文").first).to_be_visible()


def test_a_wrong_password_says_so(page):
    page.goto("/")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", "wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert "login" in page.url


def test_from_click_to_screen(page, cloud):
    sign_in(page, cloud)
    expect(page.get_by_text("Cluster controller")).to_be_visible()
    page.goto("/instances/run/?image=tiny")
    page.locator("input[name=image][value=tiny]").check()
    page.fill("input[name=name]", "clicked")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Running").first).to_be_visible(timeout=90_000)
    made = next(i for i in cloud.json("instance", "list") if i["name"] == "clicked")
    page.goto(f"/instances/{made['id']}/screen/")
    expect(page.locator("html[data-screen=connected]")).to_be_attached(timeout=60_000)
    page.goto(f"/instances/{made['id']}/")
    page.get_by_role("button", name=re.compile("^Stop")).first.click()
    confirm = page.get_by_role("dialog").get_by_role("button", name=re.compile("^Stop"))
    if confirm.count() and confirm.first.is_visible():
        confirm.first.click()
    expect(page.get_by_text("Stopped").first).to_be_visible(timeout=60_000)
    page.goto(f"/networks/{made['cluster']}/")
    expect(page.locator("#usage svg.usage rect.use-lent")).not_to_have_count(0)  # the page came first, its cluster was asked after that
    page.get_by_role("link", name="Who has which address").click()
    expect(page.get_by_role("link", name="clicked")).to_be_visible()
    cloud.call("instance", "delete", made["id"], "--yes")


def test_a_page_that_came_in_half_is_loaded_again(page, cloud, running):
    sign_in(page, cloud)
    cut = []

    def once(route):
        if cut:
            route.continue_()
        else:
            cut.append(route.request.url)
            route.abort("internetdisconnected")

    page.route("**/novnc/core/crypto/bigint.js", once)
    page.goto(f"/instances/{running}/screen/")
    expect(page.locator("html[data-screen=connected]")).to_be_attached(timeout=60_000)
    assert cut


def test_a_page_that_never_comes_whole_is_not_asked_for_for_ever(page, cloud, running):
    sign_in(page, cloud)
    cut = []
    page.route("**/clc/screen.js", lambda route: (cut.append(route.request.url), route.abort("internetdisconnected")))
    page.goto(f"/instances/{running}/screen/")
    page.wait_for_timeout(8000)
    assert len(cut) == 5


def test_the_console_speaks_chinese(page, cloud):
    sign_in(page, cloud)
    page.get_by_role("button", name="中文").first.click()
    expect(page.get_by_text("集群控制器")).to_be_visible()
    page.get_by_role("button", name="English").first.click()
    expect(page.get_by_text("Cluster controller")).to_be_visible()
