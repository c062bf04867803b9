"""Text typed as on each keyboard of the screen's page, and read by the library with which Linux guests read keys."""

import pytest
from playwright.sync_api import expect

from tests.live.test_page_scripts import HERE, browser, screen, site
from tests.support.xkb import Guest

pytestmark = pytest.mark.live
__all__ = ["browser", "screen", "site"]
ASCII = "".join(map(chr, range(32, 127)))
OWN = {
    "us": "", "gb": "£¬€", "de": "äöüßÄÖÜ§°²³€µâéèÀÊÎ", "ch": "äöüàéèç§°£¢¬€ÄÖÜÉÈÀâêñõÑ", "fr": "éèçàù²°£µ§€âêîôûëïÂÊË", "es": "ñçÑÇº ª·¿¡¬€áéíóúàâäüÁÉ",
    "it": "èéòàùìç°§£€", "jp": "",
}
LACKS = {"us": "äé€", "gb": "äé", "de": "ñ你", "ch": "ß", "fr": "ñáß", "es": "ßñ̃", "it": "äÀ", "jp": "¥é"}


@pytest.fixture
def types(site):
    page, _ = site
    page.goto(HERE)

    def do(text, layout):
        return page.evaluate("""async ([text, layout]) => {
            const { type, untypable } = await import("/static/clc/keys.js");
            const strokes = [];
            const left = await type(text, (...stroke) => strokes.push(stroke), () => {}, layout);
            return [strokes, left, untypable(text, layout)];
        }""", [text, layout])

    return do


@pytest.fixture
def every(site):
    page, _ = site
    page.goto(HERE)
    return lambda layout: page.evaluate("""async (layout) => {
        const { untypable } = await import("/static/clc/keys.js");
        const all = Array.from({ length: 0x2100 }, (_, point) => String.fromCodePoint(point)).filter((sign) => sign === sign.normalize("NFC"));
        const not = new Set(untypable(all.join("\\n"), layout));
        return all.filter((sign) => sign >= " " && !not.has(sign)).join("");
    }""", layout)


@pytest.mark.parametrize("layout", OWN)
def test_a_guest_with_that_layout_reads_what_was_written(types, layout):
    text = f"{ASCII}\t{OWN[layout]}\nsudo grep -rn 'a|b' ~/x@y.z > \\\\host\\c$ && echo \"{{[(`date`)]}}\" ^ #1; done\n"
    strokes, left, unknown = types(text, layout)
    assert (left, unknown) == ("", [])
    guest = Guest(layout)
    assert guest.read(strokes) == text
    assert not guest.held()


@pytest.mark.parametrize("layout", OWN)
def test_no_sign_of_a_table_is_another_one_there(types, every, layout):
    for sign in every(layout):
        strokes, _, _ = types(sign, layout)
        assert Guest(layout).read(strokes) == sign, (layout, sign)


@pytest.mark.parametrize("layout", LACKS)
def test_what_a_layout_lacks_is_named_before_anything_is_typed(types, layout):
    strokes, left, unknown = types(f"a{LACKS[layout]}b", layout)
    assert strokes == []
    assert left == f"a{LACKS[layout]}b"
    assert set(unknown) <= set(LACKS[layout])
    assert unknown


def test_a_letter_whose_mark_came_apart_is_one_letter(types):
    strokes, left, _ = types("gru\u0308ße", "de")
    assert left == ""
    assert Guest("de").read(strokes) == "grüße"


def test_the_choice_is_judged_at_once_and_remembered(screen):
    screen.evaluate("document.querySelector('#screen-paste').hidden = false")
    box, choice = screen.get_by_label("Text to type into the machine"), screen.get_by_label("Keyboard", exact=True)
    expect(choice).to_have_value("us")
    box.fill("größe")
    expect(screen.get_by_role("alert")).to_contain_text("ö ß")
    choice.select_option("de")
    expect(screen.get_by_role("alert")).to_have_text("")
    screen.reload()
    expect(choice).to_have_value("de")
    screen.evaluate("localStorage.setItem('educloud-keyboard', 'klingon')")
    screen.reload()
    expect(choice).to_have_value("us")
