"""What every directory of people keeps to, as tests: a class of them takes a fixture ``bed`` with the directory's people in hand."""

from __future__ import annotations

import pytest

from luhyaapi.errors import Refused, Unavailable


class Laws:
    """``bed``: person, rename, remove, group, stop, start; settings and secret; ``driver(**changed settings)``."""

    def test_the_right_password_says_who_it_is(self, bed):
        bed.person("ann", "quiet river", units=("school", "class1"), display="Ann Lee", mail="ann@school.test")
        person = bed.driver().signed_in("ann", "quiet river")
        assert (person.name, person.display, person.mail, person.units) == ("ann", "Ann Lee", "ann@school.test", ("school", "class1"))
        assert person.subject
        assert person.place.casefold().startswith("uid=ann,ou=class1,ou=school,")

    def test_a_wrong_password_and_nobody_are_the_same(self, bed):
        bed.person("ann", "quiet river")
        assert bed.driver().signed_in("ann", "quiet  river") is None
        assert bed.driver().signed_in("nobody", "quiet river") is None

    @pytest.mark.parametrize("password", ["", "\0", "\0quiet river"])
    def test_no_password_is_no_anonymous_bind(self, bed, password):
        bed.person("ann", "quiet river")
        assert bed.driver().signed_in("ann", password) is None
        assert bed.driver(bind_dn="", secret=bed.secret).signed_in("ann", "") is None

    @pytest.mark.parametrize("name", [
        "*", "a*", "ann*", "ann)(uid=*", "ann)(|(uid=*", "*)(uid=*))(|(uid=*", "ann\\2a", "\\61nn", "ann\0", "ann\n", "(ann)", "ann))", "ann,ou=x", "\u202eann",
        "", " ann", "ann ", "a nn", "ann\u00ad", "\ufeffann", "\uff41nn", "uid=ann", "x" * 5000,
    ])
    def test_no_other_spelling_is_a_name(self, bed, name):
        """Neither a filter's signs nor what a directory takes for the same: each would be a name of its own to the count of guesses."""
        bed.person("ann", "quiet river")
        assert bed.driver().signed_in(name, "quiet river") is None
        assert bed.driver().named(name) is None

    def test_case_means_nothing_and_the_name_is_the_directorys(self, bed):
        bed.person("Ann", "quiet river")
        assert bed.driver().signed_in("aNN", "quiet river").name == "Ann"

    def test_whatever_the_filter_names_is_a_name(self, bed):
        bed.person("ann", "quiet river", mail="ann@school.test")
        assert bed.driver().signed_in("ann@school.test", "quiet river").name == "ann"

    def test_a_name_of_two_is_nobodys(self, bed):
        bed.person("ann", "quiet river", mail="both@school.test")
        bed.person("bob", "quiet river", mail="both@school.test")
        assert bed.driver().signed_in("both@school.test", "quiet river") is None

    def test_strange_signs_are_signs(self, bed):
        bed.person("o(b)*i\\x", "quiet river")
        bed.person("李明", "quiet river")
        assert bed.driver().signed_in("o(b)*i\\x", "quiet river").name == "o(b)*i\\x"
        assert bed.driver().named("李明").name == "李明"

    def test_groups_are_told(self, bed):
        bed.person("ann", "quiet river")
        dn = bed.group("teachers", "ann")
        assert dn.casefold() in {each.casefold() for each in bed.driver().signed_in("ann", "quiet river").values["memberof"]}

    def test_who_is_renamed_stays_who_they_are(self, bed):
        bed.person("ann", "quiet river")
        before = bed.driver().named("ann")
        bed.rename("ann", "anna")
        after = bed.driver().known([before.subject])[before.subject]
        assert (after.subject, after.name) == (before.subject, "anna")
        assert bed.driver().named("ann") is None

    def test_who_is_gone_is_not_known(self, bed):
        bed.person("ann", "quiet river")
        bed.person("bob", "quiet river")
        driver = bed.driver()
        both = [driver.named(each).subject for each in ("ann", "bob")]
        bed.remove("ann")
        assert set(driver.known(both)) == {both[1]}
        assert driver.known([]) == {}

    def test_somebody_else_of_the_same_name_is_somebody_else(self, bed):
        bed.person("ann", "quiet river")
        first = bed.driver().named("ann").subject
        bed.remove("ann")
        bed.person("ann", "another river")
        assert bed.driver().named("ann").subject != first

    def test_everybody_is_bounded(self, bed):
        for n in range(7):
            bed.person(f"pupil-{n}", "quiet river")
        assert {each.name for each in bed.driver().everybody(10)} == {f"pupil-{n}" for n in range(7)}
        with pytest.raises(Refused, match="too many people"):
            bed.driver().everybody(6)

    def test_a_test_says_what_works(self, bed):
        bed.person("ann", "quiet river")
        told = list(bed.driver().steps())
        assert len(told) == 5
        assert told[-1] == "1 people"

    @pytest.mark.parametrize(("changed", "after", "why"), [
        ({"secret": "something else"}, 2, "does not know cn=reader"), ({"base": "dc=elsewhere,dc=test"}, 3, "there is no dc=elsewhere"),
    ])
    def test_a_test_says_the_first_thing_that_is_wrong(self, bed, changed, after, why):
        bed.person("ann", "quiet river")
        told = []
        with pytest.raises(Unavailable, match=why) as refused:
            told.extend(bed.driver(**changed).steps())
        assert refused.value.code == "directory_down"
        assert refused.value.hint.startswith("Correct")
        assert len(told) <= after

    def test_a_directory_without_people_is_said(self, bed):
        with pytest.raises(Unavailable, match="nobody fits"):
            list(bed.driver().steps())

    def test_down_is_an_error_for_every_question(self, bed):
        bed.person("ann", "quiet river")
        driver = bed.driver()
        bed.stop()
        try:
            for ask in (lambda: driver.signed_in("ann", "quiet river"), lambda: driver.named("ann"), lambda: driver.known(["x"]),
                        lambda: driver.everybody(9), lambda: list(driver.steps())):
                with pytest.raises(Unavailable) as refused:
                    ask()
                assert refused.value.code == "directory_down"
        finally:
            bed.start()

    def test_a_wrong_bind_password_is_the_directorys_trouble_and_not_the_persons(self, bed):
        bed.person("ann", "quiet river")
        with pytest.raises(Unavailable, match="does not know cn=reader"):
            bed.driver(secret="something else").signed_in("ann", "quiet river")
