"""What somebody may try at the doors of the console and the API to do what they may not."""

from __future__ import annotations

from deploy.fault_table import Row

_DOORS = "tests/api/test_every_door.py"
_TRICKS = "tests/api/test_tricks.py"
_CALLS = "tests/api/test_described_calls.py"
_RIGHTS = "tests/api/test_rights.py"
_LOCK = "tests/api/test_lock_out.py"
_STEP = "tests/api/test_second_step.py"
_TOKENS = "tests/api/test_tokens.py"
_NEW = "tests/api/test_new_password.py"
_LIVE = "tests/console/test_live.py"
_DIRECTORIES = "tests/api/test_directories.py"
_PROVIDERS = "tests/console/test_provider_sign_in.py"
_PASSKEYS = "tests/api/test_passkeys.py"
_PATHS = "tests/unit/test_paths.py"


def _row(name: str, title: str, promise: str, *tests: str) -> Row:
    return Row(name, title, promise, tests, (f"attacks/{name}",))


PEOPLE = (
    _row(
        "A39", "What belongs to others, asked for by its id at every door, in every body",
        "It is not there: the answer is that to an id nobody has, and no answer names anything of another school.",
        f"{_DOORS}::test_every_door_is_open_to_whom_it_should_be", f"{_DOORS}::test_no_door_is_forgotten",
        f"{_CALLS}::test_nothing_breaks_it_and_nobody_learns_of_others",
        "tests/api/test_workspace_calls.py::test_only_administrators_begin_and_nobody_sees_others",
        "tests/api/test_access.py::test_what_belongs_to_others_is_not_there", "tests/console/test_pages.py::test_nobody_sees_what_belongs_to_others",
        f"{_LIVE}::test_everybody_hears_only_what_may_be_seen",
    ),
    _row(
        "A40", "Paths of groups that begin like another, end in dots, look alike, are endless or hold wildcards; a path that moves meanwhile",
        "One thing has one spelling; a path covers itself and what follows by a dot; rights stand at groups, not at texts.",
        f"{_PATHS}::test_a_path_covers_itself_and_what_follows_by_a_dot", f"{_PATHS}::test_one_thing_has_one_spelling",
        f"{_PATHS}::test_what_only_looks_like_a_path_is_refused", f"{_RIGHTS}::test_who_is_above_sees_and_who_is_beside_or_below_does_not",
        f"{_RIGHTS}::test_a_moved_group_takes_the_rights_of_where_it_is", f"{_TRICKS}::test_a_tree_that_moves_in_the_middle_loses_nobody",
        "tests/unit/test_who_may.py::test_the_rule_and_its_model_say_the_same",
    ),
    _row(
        "A41", "Giving oneself, or a friend, more: by role, grant, share, batch, another's password, or fields that are not in the form",
        "Nobody gives more than they have, nobody takes over who may do more, and no door takes a field that is not its own.",
        f"{_RIGHTS}::test_nobody_gives_more_than_they_have", f"{_RIGHTS}::test_who_has_all_rights_over_everybody_is_no_administrator_and_makes_none",
        f"{_TRICKS}::test_no_door_takes_a_field_that_is_not_its_own", "tests/api/test_batches.py::test_who_is_over_a_class_brings_in_that_class_alone",
        "tests/console/test_right_pages.py::test_one_is_offered_what_one_may_give_and_no_more",
    ),
    _row(
        "A42", "A look at a screen that was stolen, is used again, or goes on when the right to it was taken back",
        "A ticket is one account's and good once; open lines and streams end within a second of the right to them.",
        f"{_LIVE}::test_the_ticket_is_bound_to_account_and_used_once", f"{_LIVE}::test_old_tickets_are_worth_nothing",
        f"{_LIVE}::test_an_open_line_ends_at_once_with_the_right_to_it", f"{_LIVE}::test_an_open_line_ends_at_once_with_its_sign_in",
        f"{_RIGHTS}::test_a_role_taken_back_is_gone_at_once",
    ),
    _row(
        "A43", "A page of another site that opens a screen",
        "It is refused by its origin.",
        f"{_LIVE}::test_pages_of_others_open_no_screen",
    ),
    _row(
        "A44", "A page of another site that changes something, or an address that changes something when it is only read",
        "Nothing changes without the token of our own page, and nothing by reading.",
        f"{_TRICKS}::test_no_door_changes_anything_for_another_site", f"{_TRICKS}::test_no_page_changes_anything_for_another_site",
        f"{_TRICKS}::test_reading_changes_nothing", "tests/console/test_pages.py::test_every_post_needs_its_token",
        "tests/console/test_pages.py::test_actions_are_posts",
    ),
    _row(
        "A46", "A sign-in that goes on after it was ended, or is moved to another browser",
        "Sessions are rows with an end; signing out, a new password and deactivating end them everywhere at once.",
        f"{_NEW}::test_sessions_are_listed_and_ended", f"{_NEW}::test_a_session_with_another_key_has_another_name",
        f"{_NEW}::test_a_deactivated_account_is_out_at_once_and_comes_back", "tests/api/test_people.py::test_a_new_password_ends_sessions_tokens_and_tickets",
        f"{_TOKENS}::test_a_token_ends", f"{_TOKENS}::test_a_deactivated_account_has_no_token",
    ),
    _row(
        "A47", "Guessing passwords and codes, finding out names, locking somebody out",
        "Each wait is longer, up to a bound; names nobody has are like any other; a teacher waits a minute at most.",
        f"{_LOCK}::test_each_wait_is_longer_up_to_a_bound", f"{_LOCK}::test_a_name_nobody_has_is_like_any_other",
        f"{_LOCK}::test_the_same_work_is_done_for_a_name_nobody_has", f"{_LOCK}::test_one_address_does_not_try_the_same_password_on_everybody",
        f"{_LOCK}::test_guesses_from_everywhere_cost_the_teacher_a_minute_at_most", f"{_LOCK}::test_attempts_under_way_count",
        f"{_LOCK}::test_an_open_session_guesses_the_password_no_faster", "tests/console/test_account_pages.py::test_codes_are_guessed_slowly",
    ),
    _row(
        "A48", "Half a sign-in used as a whole one; a code used again; a password somebody else chose",
        "Each is worth what it is: the next step, nothing, and another password.",
        f"{_STEP}::test_a_code_is_good_once_and_a_step_early_or_late", f"{_STEP}::test_signing_in_needs_both",
        f"{_STEP}::test_a_copy_of_the_table_opens_nothing", "tests/console/test_account_pages.py::test_half_a_sign_in_is_worth_little_for_five_minutes",
        f"{_NEW}::test_the_api_opens_one_door", f"{_NEW}::test_pages_lead_to_the_one_door",
    ),
    _row(
        "A51", "Secrets in logs, events and addresses",
        "No password, token, code or ticket is in any.",
        f"{_STEP}::test_no_secret_stands_in_a_log_or_an_event", "tests/api/test_audit.py::test_no_secret_is_in_any_line",
        f"{_TOKENS}::test_a_token_is_told_once_and_only_its_hash_is_kept",
    ),
    _row(
        "A53", "Many at once at a limit",
        "What there is is counted behind a lock: a limit is used up and never passed.",
        "tests/live/test_mariadb.py::test_fifty_at_once_never_pass_a_limit_and_use_it_up",
        "tests/api/test_quota_steps.py::test_what_is_counted_is_what_there_is",
    ),
    _row(
        "A54", "Whatever the description of the API allows, and what it does not: deep, long, many, in other encodings",
        "It is answered, and never by a fault of ours.",
        f"{_CALLS}::test_nothing_breaks_it_and_nobody_learns_of_others", "tests/api/test_bad_input.py::test_a_body_that_is_none_is_refused",
        "tests/api/test_bad_input.py::test_bytes_that_are_no_text_are_refused", "tests/api/test_bad_input.py::test_a_list_that_is_asked_for_wrongly_is_refused",
        "tests/api/test_body_limit.py::test_too_large_or_unannounced_is_refused",
    ),
    _row(
        "A80", "A directory that is silent, lies, leads elsewhere, or is asked by a name that is a filter; one that takes over an account of this cloud",
        "A name is compared and never read as a filter (the laws in `support/directory_laws.py`, kept by the fake and by a real OpenLDAP); what does not "
        "answer in time is an error that counts as no attempt; nobody becomes somebody who is here already.",
        f"{_DIRECTORIES}::test_wrong_names_and_passwords_are_one_error_and_counted", f"{_DIRECTORIES}::test_a_name_of_another_account_is_never_taken_over",
        f"{_DIRECTORIES}::test_a_silent_directory_locks_nobody_out_and_is_not_asked_again_at_once",
        f"{_DIRECTORIES}::test_what_a_directory_says_cannot_pretend",
        f"{_DIRECTORIES}::test_nobody_becomes_or_stops_being_the_last_administrator_by_a_directory",
        "tests/live/test_openldap.py::test_referrals_lead_nowhere", "tests/live/test_openldap.py::test_a_certificate_of_another_authority_ends_it",
        "tests/live/test_openldap.py::test_one_that_hangs_ends_in_time",
    ),
    _row(
        "A81", "A provider's answer that is unsigned, of another, of before, for another, stolen or mixed up; a way back that leads elsewhere",
        "It is believed only when everything about it fits what was asked, once, in the same browser.",
        f"{_PROVIDERS}::test_a_token_that_does_not_fit_is_not_believed", f"{_PROVIDERS}::test_a_token_of_nobodys_is_not_believed",
        f"{_PROVIDERS}::test_another_answer_than_was_asked_for_is_not_believed", f"{_PROVIDERS}::test_a_code_is_redeemed_once_and_only_by_who_asked",
        f"{_PROVIDERS}::test_an_answer_of_one_provider_is_none_of_another", f"{_PROVIDERS}::test_nobody_is_sent_elsewhere",
        f"{_PROVIDERS}::test_no_account_is_taken_over_by_its_name", "tests/live/test_openid_provider.py::test_a_code_is_good_once_and_for_whom_asked",
    ),
    _row(
        "A82", "A passkey's answer for another address, used twice, by a copy, or in another browser",
        "It signs nobody in, and counts as a wrong attempt.",
        f"{_PASSKEYS}::test_another_origin_is_refused_at_both_ends", f"{_PASSKEYS}::test_a_challenge_is_answered_once_in_time_and_where_it_began",
        f"{_PASSKEYS}::test_a_counter_that_goes_back_is_refused_and_told", f"{_PASSKEYS}::test_two_answers_at_once_sign_in_once",
        f"{_PASSKEYS}::test_guessing_waits_as_with_passwords", "tests/console/test_passkey_pages.py::test_what_began_in_one_browser_ends_in_no_other",
    ),
    _row(
        "A83", "Requests for accounts that fill the table, tell who is here, or are decided by who may not; owners who are deleted",
        "They are bounded, say nothing, and are decided once; what a deleted owner leaves breaks nothing.",
        "tests/api/test_account_requests.py::test_asking_tells_nobody_who_is_here", "tests/api/test_account_requests.py::test_nobody_fills_the_table",
        "tests/api/test_account_requests.py::test_of_two_who_decide_one_does_and_the_other_is_told",
        "tests/api/test_account_requests.py::test_nobody_gives_what_they_have_not",
        "tests/api/test_departures.py::test_a_deleted_owner_breaks_no_list_and_holds_nothing_up",
    ),
)
