"""Uploading in a real browser: cut and taken up again, cancelled, and under the name of an image that is there."""

import os

import pytest
from playwright.sync_api import expect

from tests.live.cloud import test_browser

pytestmark = pytest.mark.live
MIB = 1024 * 1024
browser, page = test_browser.browser, test_browser.page


@pytest.fixture
def disk(tmp_path):
    """A raw disk of 24 MiB that may boot: three pieces."""
    file = tmp_path / "big.raw"
    file.write_bytes(bytes(510) + b"\x55\xaa" + os.urandom(24 * MIB - 512))
    return file


@pytest.fixture
def signed_in(page, cloud):
    test_browser.sign_in(page, cloud)
    yield page
    for name in names(cloud).keys() & {"cutoff", "never", "kept", "slow", "big"}:
        cloud.call("image", "delete", name, "--yes")


def hold_second_piece(page):
    """The second piece never leaves the browser."""
    page.route("**/disk/?offset=8388608", lambda _route: None)


def begin(page, disk, name=""):
    page.goto("/images/upload/")
    page.set_input_files("[data-part=disk]", disk)
    if name:
        page.fill("[name=name]", name)
    page.get_by_role("button", name="Upload", exact=True).click()


def names(cloud):
    return {i["name"]: [v["version"] for v in i["versions"]] for i in cloud.json("image", "list")}


def test_a_cut_upload_goes_on_as_what_it_was(signed_in, cloud, disk):
    page = signed_in
    hold_second_piece(page)
    begin(page, disk, "cutoff")
    expect(page.locator("[data-upload-share]")).to_contain_text("33%", timeout=30_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/images/")
    page.unroute("**/disk/?offset=8388608")
    page.get_by_role("row", name="cutoff").get_by_role("link", name="an upload is half done").click()
    expect(page.locator("[name=name]")).to_have_value("cutoff")
    expect(page.get_by_text("v1 · 33 %")).to_be_visible()
    page.goto("/images/upload/")
    page.set_input_files("[data-part=disk]", disk)
    expect(page.get_by_text("This upload began before, as “cutoff”: it goes on at 33 %.")).to_be_visible()
    expect(page.locator("[name=name]")).to_have_value("cutoff")
    offsets = []
    page.on("request", lambda r: offsets.append(r.url.partition("offset=")[2]) if r.method == "PUT" else None)
    page.get_by_role("button", name="Upload", exact=True).click()
    page.wait_for_url("**/tasks/tsk-*/", timeout=30_000, wait_until="commit")
    assert offsets == ["8388608", "16777216"]
    cloud.soon(lambda: cloud.json("image", "show", "cutoff")["state"] == "published")
    assert names(cloud)["cutoff"] == [1]
    assert "big" not in names(cloud)


def test_a_cut_upload_can_begin_anew(signed_in, cloud, disk):
    page = signed_in
    hold_second_piece(page)
    begin(page, disk, "cutoff")
    expect(page.locator("[data-upload-share]")).to_contain_text("33%", timeout=30_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/images/upload/")
    page.set_input_files("[data-part=disk]", disk)
    page.get_by_role("button", name="Begin anew").click()
    expect(page.locator("[data-upload-again]")).to_be_hidden()
    expect(page.locator("[name=name]")).to_be_enabled()
    assert "cutoff" not in names(cloud)


def test_cancel_keeps_nothing_and_says_so(signed_in, cloud, disk):
    page = signed_in
    hold_second_piece(page)
    begin(page, disk, "never")
    expect(page.locator("[data-upload-share]")).to_contain_text("33%", timeout=30_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled; nothing of it is kept.")).to_be_visible()
    assert "never" not in names(cloud)
    page.goto("/images/upload/")
    page.set_input_files("[data-part=disk]", disk)
    expect(page.locator("[name=name]")).to_have_value("big")
    expect(page.locator("[data-upload-again]")).to_be_hidden()


def test_a_cancel_that_fails_says_so_and_forgets_nothing(signed_in, cloud, disk):
    page = signed_in
    hold_second_piece(page)
    begin(page, disk, "kept")
    expect(page.locator("[data-upload-share]")).to_contain_text("33%", timeout=30_000)
    page.route("**/api/v1/uploads/*/", lambda route: route.fulfill(status=409, json={"code": "state", "what": "Not now"}) if route.request.method == "DELETE"
               else route.continue_())
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The upload stopped, and could not be discarded")).to_be_visible()
    expect(page.get_by_text("it goes on at 33 %.")).to_be_visible()
    page.unroute("**/api/v1/uploads/*/")
    page.get_by_role("button", name="Begin anew").click()
    expect(page.locator("[data-upload-again]")).to_be_hidden()
    assert "kept" not in names(cloud)


def test_a_name_that_is_there_asks_before_it_gets_a_version(signed_in, cloud, disk):
    page = signed_in
    known = cloud.json("image", "show", "tiny")["versions"]
    newest, before = max(v["version"] for v in known if v["state"] == "published"), known[-1]["version"]
    page.goto("/images/upload/")
    expect(page.locator("[data-new-version]")).to_be_hidden()
    page.set_input_files("[data-part=disk]", disk)
    page.fill("[name=name]", "tiny")
    expect(page.get_by_text(f"“tiny” exists (version {newest}): this becomes its version {before + 1}.")).to_be_visible()
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.locator("[data-upload-progress]")).to_be_hidden()
    assert page.locator("[name=new_version]").evaluate("box => box.validity.valueMissing")
    page.fill("[name=name]", "free")
    expect(page.locator("[data-new-version]")).to_be_hidden()
    page.fill("[name=name]", "tiny")
    page.get_by_label("Yes, a new version of it").check()
    page.get_by_role("button", name="Upload", exact=True).click()
    page.wait_for_url("**/tasks/tsk-*/", timeout=30_000, wait_until="commit")
    cloud.soon(lambda: cloud.json("image", "show", "tiny")["versions"][-1]["state"] == "published")
    assert names(cloud)["tiny"][-1] == before + 1
    cloud.call("image", "retire", "tiny", "--version", str(before + 1), "--yes")


def test_progress_is_shown_within_a_piece(signed_in, cloud, disk):
    page = signed_in
    hold_second_piece(page)
    page.goto("/images/upload/")
    shares = page.evaluate("""() => {
      const seen = []; const place = document.querySelector("[data-upload-share]");
      new MutationObserver(() => seen.push(place.textContent)).observe(place, { childList: true, characterData: true, subtree: true });
      window.seenShares = seen; return 0; }""")
    assert shares == 0
    client = page.context.new_cdp_session(page)
    client.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 8 * MIB})
    page.set_input_files("[data-part=disk]", disk)
    page.fill("[name=name]", "slow")
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.locator("[data-upload-share]")).to_contain_text("33%", timeout=30_000)
    percents = {int(text.split("·")[1].strip().rstrip("%")) for text in page.evaluate("window.seenShares")}
    assert len([p for p in percents if 0 < p < 33]) > 2, percents
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled; nothing of it is kept.")).to_be_visible()


def test_a_cancel_before_the_cloud_answered_does_not_promise_too_much(signed_in, cloud, disk):
    page = signed_in
    page.route("**/api/v1/uploads/", lambda route: route.fulfill(status=503, json={"code": "host_silent", "what": "Not now"}))
    begin(page, disk, "never")
    expect(page.get_by_text("trying again in")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The upload stopped, and could not be discarded")).to_be_visible()
