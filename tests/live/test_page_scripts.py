"""The scripts of the pages in a real browser, on pages of one part and without a cloud."""

import mimetypes
from pathlib import Path

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import expect, sync_playwright

pytestmark = pytest.mark.live
STATIC = Path(__file__).resolve().parents[2] / "clc/static"
HERE = "http://console.test"
FRAME = """<!doctype html><html><head><meta name="csrf-token" content="x"></head>
<body data-events="/events" data-ago="now|{n} s|{n} min|{n} h|{n} d"><div id="toasts"></div><dialog id="ask"></dialog>%s</body></html>"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def site(browser):
    """A site that is a dictionary: path to its page, or to a list whose next one is given each time."""
    context = browser.new_context()
    pages: dict = {}

    def serve(route):
        path = route.request.url.removeprefix(HERE).partition("?")[0]
        found = pages.get(path, "")
        text = (found.pop(0) if len(found) > 1 else found[0]) if isinstance(found, list) else found
        if not text and path.startswith("/static/"):
            text = (STATIC / path.removeprefix("/static/")).read_text("utf-8")
        kind = "text/event-stream" if path == "/events" else mimetypes.guess_type(path)[0] or "text/html"
        return route.fulfill(body=text, content_type=f"{kind}; charset=utf-8")

    context.route("**/*", serve)
    yield context.new_page(), pages
    context.close()


# what a Linux guest with the US layout makes of its keys
_US = {
    "Space": "  ", "Enter": "\n\n", "Tab": "\t\t", "Minus": "-_", "Equal": "=+", "BracketLeft": "[{", "BracketRight": "]}", "Backslash": "\\|",
    "Semicolon": ";:", "Quote": "'\"", "Backquote": "`~", "Comma": ",<", "Period": ".>", "Slash": "/?",
    **{f"Digit{n}": f"{n}{sign}" for n, sign in enumerate(")!@#$%^&*(")},
    **{f"Key{letter}": letter.lower() + letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
}


def typed(page, text):
    """What a guest reads, and what the page says was left."""
    page.goto(HERE)
    strokes, left = page.evaluate("""async (text) => {
        const { type } = await import("/static/clc/keys.js");
        const strokes = [];
        const left = await type(text, (keysym, code, down) => strokes.push([keysym, code, down]), () => {});
        return [strokes, left];
    }""", text)
    read, held = "", set()
    for keysym, code, down in strokes:
        assert keysym
        if code == "ShiftLeft":
            (held.add if down else held.discard)(code)
        elif down:
            read += _US[code][bool(held)]
    assert not held
    return read, left


def test_text_is_typed_as_it_was_written(site):
    page, _ = site
    line = "echo Hello_World 'A|B' $HOME 50% (x) ~ \"q\" > /tmp/T\n\tsudo rm -rf \\\\host `a` {b} [c] <d> e=f; g+h? i&j ^k #l @m !n *o, p: q.\n"
    assert typed(page, line) == (line, "")
    every = "".join(map(chr, range(32, 127)))
    assert typed(page, every) == (every, "")


def test_what_has_no_key_keeps_the_whole_text_untyped(site):
    page, _ = site
    assert typed(page, "grüße, 你好") == ("", "grüße, 你好")
    assert page.evaluate("async () => (await import('/static/clc/keys.js')).untypable('grüße ü 你')") == ["ü", "ß", "你"]


def test_a_line_that_is_cut_leaves_the_rest(site):
    page, _ = site
    page.goto(HERE)
    assert page.evaluate("""async () => {
        const { type } = await import("/static/clc/keys.js");
        let sent = 0;
        return type("abcdef", () => (sent += 1) <= 6, () => {});
    }""") == "def"


RFB = """export default class {
  constructor() { this.on = {}; window.rfb = this; window.keys = []; }
  addEventListener(name, told) { this.on[name] = told; }
  disconnect() {}
  focus() {}
  sendKey(...key) { window.keys.push(key); }
}"""
SCRIPTS = """<script src="/static/vendor/htmx/htmx.min.js"></script><script src="/static/clc/console.js"></script>
<script src="/static/clc/fields.js"></script><script src="/static/clc/live.js"></script>"""


@pytest.fixture
def screen(site):
    """A page with a guest's screen whose tickets are refused until the test says otherwise."""
    page, pages = site
    pages["/static/vendor/novnc/core/rfb.js"] = RFB
    pages["/events"] = ": nothing\n\n"
    part = render_to_string("clc/instances/_screen.html", {"instance": {"id": "ins-00000001", "name": "one"}, "full": True})
    pages["/"] = FRAME % (part + SCRIPTS + '<script type="module" src="/static/clc/screen.js"></script>')
    page.add_init_script("""const body = { what: "one shows no screen", why: "it is stopped", hint: "Start it first.", code: "state" };
      window.answer = { status: 409, body };
      window.fetch = async () => new Response(JSON.stringify(window.answer.body), { status: window.answer.status });""")
    page.goto(HERE + "/")
    return page


def test_a_screen_comes_back_when_its_machine_runs_again(screen):
    cover = screen.locator("[data-screen-cover]")
    expect(cover).to_contain_text("it is stopped. Start it first.")
    assert "state" not in [line.strip() for line in cover.inner_text().split("\n")]
    screen.evaluate("window.answer = { status: 200, body: { url: '/live/screen/x' } }")
    changed = "document.dispatchEvent(new CustomEvent('educloud:changed', { detail: { noun: 'instance', id: '%s' } }))"
    screen.evaluate(changed % "ins-00000002")
    assert screen.evaluate("window.rfb === undefined")
    screen.evaluate(changed % "ins-00000001")
    screen.wait_for_function("window.rfb !== undefined")


@pytest.fixture
def serial(site):
    """A page with a guest's serial console, and what is done with each of its lines in turn."""
    page, pages = site
    pages["/events"] = ": nothing\n\n"
    part = render_to_string("clc/instances/_serial.html", {"instance": {"id": "ins-00000001", "name": "one"}, "full": True})
    style = '<link rel="stylesheet" href="/static/vendor/xterm/xterm.css">'
    pages["/"] = FRAME % (style + part + SCRIPTS + '<script type="module" src="/static/clc/terminal.js"></script>')
    page.add_init_script("""window.tickets = 0;
      window.fetch = async () => { window.tickets += 1; return new Response(JSON.stringify({ url: "/live/serial/x" }), { status: 201 }); };""")
    lines, acts = [], []

    def met(line):
        lines.append(line)
        line.heard = b""

        def hear(message):
            line.heard += message

        line.on_message(hear)
        acts[min(len(lines), len(acts)) - 1](line)

    page.route_web_socket("**/live/serial/x", met)

    def begin(*what):
        acts.extend(what)
        page.goto(HERE + "/")
        return page, lines

    return begin


def test_a_serial_console_shows_what_is_written_and_sends_what_is_typed(serial):
    page, lines = serial(lambda line: line.send(b"\x1b[31mlogin:\x1b[0m "))
    expect(page.locator("html[data-serial=connected]")).to_be_attached()
    expect(page.locator(".xterm-rows")).to_contain_text("login:")
    page.locator("[data-serial-view]").click()
    page.keyboard.type("root\n")
    page.keyboard.press("Control+c")
    page.wait_for_timeout(200)
    assert lines[0].heard == b"root\r\x03"
    page.get_by_role("button", name="Tell it the size").click()
    page.wait_for_timeout(200)
    assert b"stty rows " in lines[0].heard


def test_a_guest_gets_no_answer_no_title_no_clipboard_and_no_link(serial):
    asks = b"\x1b[c\x1b[>c\x1b[6n\x1b[?6n\x1b[5n\x1b]10;?\x07\x1b]4;1;?\x07\x1bP$qm\x1b\\\x1b[?2004$p\x1b[18t\x1b[>q"
    does = b"\x1b]0;stolen\x07\x1b]2;stolen\x07\x1b]52;c;c3RvbGVu\x07\x1b]8;;http://evil.example/\x1b\\link\x1b]8;;\x1b\\ end"
    page, lines = serial(lambda line: line.send(asks + does))
    expect(page.locator(".xterm-rows")).to_contain_text("link end")
    page.wait_for_timeout(300)
    assert lines[0].heard == b""
    assert "stolen" not in page.title()
    assert page.locator(".xterm-rows a").count() == 0


def test_a_line_that_ends_is_opened_again_and_one_that_is_refused_is_not(serial):
    def ends(line):
        line.send(b"first")
        line.close(code=1000, reason="The line ended")

    def refused(line):
        line.close(code=4403, reason="This machine has a serial console after its next start\nit is old")

    page, lines = serial(ends, refused, lambda line: line.send(b"back"))
    expect(page.locator("html[data-serial=ended]")).to_be_attached(timeout=10_000)
    expect(page.locator("[data-serial-what]")).to_have_text("This machine has a serial console after its next start")
    expect(page.locator("[data-serial-why]")).to_have_text("it is old")
    page.wait_for_timeout(1500)
    assert len(lines) == 2
    page.evaluate("document.dispatchEvent(new CustomEvent('educloud:changed', { detail: { noun: 'instance', id: 'ins-00000001' } }))")
    expect(page.locator(".xterm-rows")).to_contain_text("back")
    # what was said before comes again with each line
    expect(page.locator(".xterm-rows")).not_to_contain_text("first")


def test_that_somebody_looks_is_no_change(site):
    page, pages = site
    pages["/"] = FRAME % ('<div id="serial"></div>' + SCRIPTS)
    looks = "".join(
        f'id: {n}\nevent: message\ndata: {{"type": "instance", "id": "ins-1", "what": "{what}"}}\n\n'
        for n, what in enumerate(("serial opened", "screen opened", "tunnel to port 22 opened", "running"))
    )
    pages["/events"] = [looks, ": nothing\n\n"]
    page.add_init_script("window.told = []; document.addEventListener('educloud:changed', (e) => { if (e.detail.noun) window.told.push(e.detail.id); });")
    page.goto(HERE + "/")
    page.wait_for_function("window.told.length > 0")
    page.wait_for_timeout(300)
    assert page.evaluate("window.told") == ["ins-1"]


def test_the_box_says_what_it_cannot_type_and_keeps_it(screen):
    screen.evaluate("window.answer = { status: 200, body: { url: '/live/screen/x' } }")
    screen.get_by_role("button", name="Reconnect").first.click()
    screen.wait_for_function("window.rfb !== undefined")
    screen.evaluate("document.querySelector('[data-screen=paste]').disabled = false")
    screen.get_by_role("button", name="Type text").click()
    box = screen.get_by_label("Text to type into the machine")
    box.fill("größe")
    screen.get_by_role("button", name="Type", exact=True).click()
    expect(screen.get_by_role("alert")).to_contain_text("ö ß")
    expect(box).to_have_value("größe")
    assert screen.evaluate("window.keys") == []
    box.fill("A")
    screen.get_by_role("button", name="Type", exact=True).click()
    expect(box).to_be_hidden()
    assert [key[1] for key in screen.evaluate("window.keys")] == ["ShiftLeft", "KeyA", "KeyA", "ShiftLeft"]


FORM = """<form method="post" action="/submit/"><textarea name="note" id="note">%s</textarea>
<select name="hue"><option>red<option>blue</select><input type="checkbox" name="anyway" value="1"></form>"""
STOP = '<form method="post" action="/stop/"><button>Stop</button></form>'


def event(noun, ident, number=1):
    return f'id: {number}\nevent: message\ndata: {{"type": "{noun}", "id": "{ident}"}}\n\n'


def fill(page):
    page.locator("#note").fill("a new editor")
    page.locator("select").select_option("blue")
    page.locator("[name=anyway]").check()


def see(page):
    expect(page.locator("#note")).to_have_value("a new editor")
    expect(page.locator("select")).to_have_value("blue")
    expect(page.locator("[name=anyway]")).to_be_checked()


def test_a_live_refresh_keeps_what_was_typed(site):
    page, pages = site
    part = '<div id="part" data-live="workspace:w" data-live-url="/part">%s%s</div>'
    pages["/"] = FRAME % (part % ("old", FORM % "") + SCRIPTS)
    pages["/part"] = part % ("new", FORM % "")
    pages["/events"] = [": not yet\n\n", event("workspace", "w")]
    page.goto(HERE + "/")
    fill(page)
    page.locator("body").click()
    expect(page.locator("#part")).to_contain_text("new", timeout=15_000)
    see(page)


def test_an_answer_that_comes_while_somebody_types_leaves_the_cursor(site):
    page, pages = site
    part = '<div id="part" data-live="workspace:w" data-live-url="/part">%s%s</div>'
    pages["/"] = FRAME % (part % ("old", FORM % "") + SCRIPTS)
    pages["/part"] = part % ("new", FORM % "")
    page.goto(HERE + "/")
    page.locator("#note").fill("a new editor")
    page.evaluate("document.querySelector('#note').setSelectionRange(2, 5)")
    page.evaluate("htmx.ajax('GET', '/part', { source: '#part', target: '#part', swap: 'outerHTML' })")
    expect(page.locator("#part")).to_contain_text("new")
    assert page.evaluate("[document.activeElement.id, document.activeElement.selectionStart, document.activeElement.selectionEnd]") == ["note", 2, 5]
    expect(page.locator("#note")).to_have_value("a new editor")


def test_another_form_s_answer_keeps_what_was_typed_and_one_s_own_does_not(site):
    page, pages = site
    pages["/"] = FRAME % (FORM % "" + STOP + SCRIPTS)
    pages["/stop/"] = pages["/submit/"] = "<script>location.replace('/')</script>"
    page.goto(HERE + "/")
    fill(page)
    page.get_by_role("button", name="Stop").click()
    page.wait_for_url(HERE + "/")
    see(page)
    page.reload()
    see(page)
    page.evaluate("document.querySelector('form').requestSubmit()")
    page.wait_for_url(HERE + "/")
    expect(page.locator("#note")).to_have_value("")


def test_a_page_of_another_state_comes_anew_with_what_was_typed(site):
    page, pages = site
    watch = '<span hidden id="watch" data-live="instance:i" data-live-url="/watch" data-live-reload data-state="%s"></span>'
    pages["/"] = FRAME % (watch % "stopped" + FORM % "" + SCRIPTS)
    pages["/first"] = FRAME % (watch % "running" + FORM % "" + SCRIPTS)
    pages["/watch"] = watch % "stopped"
    page.goto(HERE + "/first")
    pages["/first"] = pages["/"].replace("</body>", "<p>stopped now</p></body>")
    page.locator("#note").fill("a new editor")
    fill(page)
    page.evaluate("document.activeElement.blur()")
    pages["/events"] = event("instance", "i")
    expect(page.get_by_text("stopped now")).to_be_visible(timeout=15_000)
    see(page)


def test_a_page_of_another_state_does_not_call_off_what_was_clicked(site):
    page, pages = site
    watch = '<span hidden id="watch" data-live="instance:i" data-live-url="/watch" data-live-reload data-state="%s"></span>'
    pages["/first"] = [FRAME % (watch % "running" + '<a href="/next">next</a>' + SCRIPTS), FRAME % "<p>loaded anew</p>"]
    pages["/watch"] = watch % "stopped"
    slow = []

    def hold(route):
        slow.append(route)

    page.route(HERE + "/next", hold)
    page.goto(HERE + "/first")
    page.get_by_text("next").click(no_wait_after=True)
    with page.expect_response(HERE + "/watch", timeout=9_000):
        pages["/events"] = event("instance", "i")
    page.wait_for_timeout(300)
    slow[0].fulfill(body="<p>arrived</p>", content_type="text/html")
    expect(page.get_by_text("arrived")).to_be_visible()


def test_what_a_refused_form_shows_again_outlives_another_language(site):
    page, pages = site
    pages["/"] = [FRAME.replace("<body", "<body data-refilled") % (FORM % "a new editor" + STOP + SCRIPTS), FRAME % (FORM % "" + SCRIPTS)]
    pages["/stop/"] = "<script>location.replace('/')</script>"
    page.goto(HERE + "/")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_url(HERE + "/")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(page.locator("#note")).to_have_value("a new editor")
