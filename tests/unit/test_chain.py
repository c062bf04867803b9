"""The chain as a pure thing: every kind of tampering shows, and what retention and filters leave out does not look like it."""

import copy
import json

import pytest

from luhyaapi import chain
from luhyaapi.chain import START, Check, Head, canonical, digest
from luhyaapi.errors import Refused


def body(number, **more):
    return {"number": number, "at": "2027-01-15T08:00:00.000Z", "noun": "instance", "what": f"做了 {number}", "fields": {"b": 1, "a": [None, 1.5]}, **more}


def lines(count, first=1, previous=START, **special):
    made = []
    for number in range(first, first + count):
        line = body(number, **special.get(f"n{number}", {}))
        own = digest(previous, line)
        made.append(line | {"previous": previous, "digest": own})
        previous = own
    return made


def trailer(made, **more):
    last = made[-1] if made else {"number": 0, "digest": START}
    return {"head": f"{last['number']}:{last['digest']}", "whole": True, "unsealed": 0, **more}


def verdict(made, told=None, heads=()):
    check = Check(heads)
    for form in [*made, told or trailer(made)]:
        check.read(json.dumps(form))
    return check.end()


def head_of(line):
    return Head(line["number"], line["digest"])


def test_the_canonical_form_is_one_whatever_the_order_and_the_blanks():
    one = {"b": [1, {"d": "é", "c": None}], "a": 1.5}
    other = json.loads('{ "a": 1.5, "b": [1, {"c": null, "d": "\\u00e9"}] }')
    assert canonical(one) == canonical(other) == b'{"a":1.5,"b":[1,{"c":null,"d":"\\u00e9"}]}'
    assert canonical({"a": "\ud800"}) == b'{"a":"\\ud800"}', "half a sign of UTF-16 stops nobody"
    assert digest(START, one) != digest(START, {**one, "a": 1.25})
    assert digest(START, one) != digest("1" * 64, one)
    assert digest("", {"x": 1}) == "95e2493a5439b05acf02ff6e5e61912206b8279e86a996f71f9c3452aca41e74", "it never changes: exports are kept for years"


def test_a_whole_chain_is_whole():
    made = lines(50)
    found = verdict(made, heads=[head_of(made[10]), head_of(made[49])])
    assert (found.faults, found.lines, found.first, found.last, found.whole) == ([], 50, 1, head_of(made[49]), True)
    assert verdict([]).faults == []


@pytest.mark.parametrize("field", list(body(1)))
def test_a_changed_field_shows(field):
    made = lines(5)
    made[2][field] = 3.5 if field == "number" else {"a": 2} if field == "fields" else "other"
    assert verdict(made).faults


@pytest.mark.parametrize("field", ["previous", "digest"])
def test_a_changed_seal_shows(field):
    made = lines(5)
    made[2][field] = "0" * 63 + "1"
    assert verdict(made).faults
    made[2][field] = ""
    assert verdict(made).faults


def test_a_field_that_was_put_in_or_taken_shows():
    made = lines(5)
    more, less = copy.deepcopy(made), copy.deepcopy(made)
    more[2]["extra"] = 1
    del less[2]["what"]
    assert verdict(more).faults == verdict(less).faults == ["line 3 was changed"]


def test_a_line_made_anew_does_not_fit_the_next():
    made = lines(5)
    forged = body(3, what="nothing")
    made[2] = forged | {"previous": made[1]["digest"], "digest": digest(made[1]["digest"], forged)}
    assert verdict(made).faults == ["line 4 does not follow from line 3: one of them was changed, or a line was put in"]


@pytest.mark.parametrize(("gone", "said"), [
    ([2], "line 3 was removed"), ([1, 2, 3], "lines 2 to 4 were removed"), ([0], "the chain begins with line 2, and no line says"),
])
def test_a_removed_line_shows(gone, said):
    made = lines(6)
    left = [line for n, line in enumerate(made) if n not in gone]
    assert any(said in fault for fault in verdict(left).faults)


def test_a_removed_line_shows_too_when_the_cloud_has_its_digest_no_more():
    made = lines(6)
    made[3]["previous"] = ""
    del made[2]
    assert verdict(made).faults == ["line 3 was removed"]


def test_removed_and_renumbered_shows():
    made = lines(6)
    del made[2]
    for n, line in enumerate(made):
        line["number"] = n + 1
    assert verdict(made).faults


def test_an_inserted_line_shows():
    made = lines(5)
    put_in = body(3, what="invented")
    made.insert(3, put_in | {"previous": made[2]["digest"], "digest": digest(made[2]["digest"], put_in)})
    assert any("was moved or put in" in fault for fault in verdict(made).faults)
    assert any("was moved or put in" in fault for fault in verdict([*lines(3), lines(3)[2]]).faults), "said twice"


def test_swapped_lines_show():
    made = lines(5)
    made[2], made[3] = made[3], made[2]
    assert verdict(made).faults
    made = lines(5)
    made[2]["what"], made[3]["what"] = made[3]["what"], made[2]["what"]
    assert verdict(made).faults == ["line 3 was changed", "line 4 was changed"]


def test_a_cut_tail_shows_by_the_trailer_and_by_a_noted_head():
    made = lines(6)
    noted = head_of(made[4])
    assert any("its tail was cut off" in fault for fault in verdict(made[:3], trailer(made)).faults)
    assert verdict(made[:3]).faults == [], "who cuts the tail and says so in a trailer of his own is not seen by that alone"
    assert verdict(made[:3], heads=[noted]).faults == ["line 5 was noted, and the chain ends with line 3: its tail was cut off"]
    assert verdict(made, heads=[noted]).faults == []


def test_a_file_without_its_trailer_was_cut():
    check = Check()
    for line in lines(3):
        check.read(json.dumps(line))
    assert check.end().faults == ["the export has no trailer: its end was cut off"]


def test_a_chain_made_anew_shows_by_a_noted_head():
    noted = head_of(lines(5)[2])
    anew = lines(5, n2={"what": "nothing"})
    assert verdict(anew).faults == []
    assert verdict(anew, heads=[noted]).faults == ["line 3 has another digest than was noted: everything up to it may have been made anew"]


def removed(upto):
    noun, what = chain.REMOVED
    return {"noun": noun, "what": what, "fields": {"upto": upto["number"], "digest": upto["digest"]}}


def test_what_retention_removed_is_named_by_a_line():
    whole = lines(9)
    rest = lines(5, 10, whole[8]["digest"], n12=removed(whole[8]))
    assert verdict(rest).faults == []
    assert verdict(rest, heads=[head_of(whole[8])]).faults == [], "the last one it removed is known"
    assert verdict(rest, heads=[head_of(whole[3])]).faults == ["line 4 was noted, and retention removed it: note a newer one"]
    assert "no line says" in verdict(lines(5, 10, whole[8]["digest"])).faults[0]
    assert "no line says" in verdict(lines(5, 10, whole[8]["digest"], n12=removed(whole[7]))).faults[0]
    wrong = Head(9, "1" * 64)
    assert verdict(rest, heads=[wrong]).faults == ["line 9 is not as it was noted"]


def test_of_a_filtered_export_each_line_is_verified():
    made = [line for line in lines(9) if line["number"] in (2, 3, 7)]
    found = verdict(made, trailer(made, whole=False, head=f"9:{'0' * 64}"))
    assert (found.faults, found.whole) == ([], False)
    made[1]["what"] = "other"
    assert verdict(made, trailer(made, whole=False)).faults == ["line 3 was changed"]
    made = [line for line in lines(9) if line["number"] in (2, 7)]
    assert "cannot be told" in verdict(made, trailer(made, whole=False), [Head(5, "0" * 64)]).faults[0]
    made[1]["previous"] = ""
    assert verdict(made, trailer(made, whole=False)).faults == ["line 7 cannot be verified: line 6 was removed"]


@pytest.mark.parametrize("text", ["nonsense", "[]", "1", "null", "{}", '{"number": 1}', '{"number": "x", "previous": "", "digest": ""}', "{" * 5000,
                                  '{"head": 7}',
                                  '{"number": Infinity, "previous": "", "digest": ""}', '{"head": "7:x", "whole": true}', '{"head": "1:' + "0" * 64 + '"}'])
def test_what_is_no_export_says_so(text):
    check = Check()
    check.read(text)
    assert check.end().faults
    behind = Check()
    for form in (*lines(2), trailer(lines(2))):
        behind.read(json.dumps(form))
    behind.read(text)
    assert behind.end().faults, "behind the trailer"


def test_many_faults_are_counted():
    made = lines(60)
    for line in made:
        line["what"] = "x"
    found = verdict(made)
    assert (len(found.faults), found.more) == (chain.FAULTS_NAMED, 60 - chain.FAULTS_NAMED)


def test_a_head_is_read_as_it_is_told():
    noted = Head(7, "a" * 64)
    assert chain.head(f" {noted}\n") == noted
    for text in ("", "7", f"7:{'g' * 64}", f"-7:{'a' * 64}", f"7:{'a' * 63}", "9" * 19 + ":" + "a" * 64):
        with pytest.raises(Refused):
            chain.head(text)
