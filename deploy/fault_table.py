"""What can go wrong and what is promised then: each row with the tests that show it and the runs that count for it, or why not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """``tests``: file and function; ``gap``: what is not tried.

    ``counted``: kinds of the ledger; with a slash the beginning of a point, or after a star what is in it; ``with/`` what came in seeds.
    """

    name: str
    title: str
    promise: str
    tests: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    gap: str = ""


WITH = "with/"


@dataclass(frozen=True)
class Figure:
    """What was asked for in numbers: ``asked`` of a kind, or of its points with that beginning."""

    what: str
    asked: str
    kind: str
    beginning: str = ""
    by_role: bool = False


FIGURES = (
    Figure("Seeds of the simulator", "100,000", "seeds"),
    Figure("Crash-restarts, over all roles and points", "1,000", "crashes", by_role=True),
    Figure("Cuts, on the bed of five hosts", "100 in 5 shapes", "cuts"),
    Figure("Kill -9 of any one process while an instance starts, on the bed", "each of 26 at every moment", "deaths", by_role=True),
    Figure("Double starts", "5,000", "starts"),
    Figure("Allocations, with kills", "100,000 by 32 takers", "allocations", "32 takers"),
    Figure("Deliberate bugs", "15 of 15 caught", "bugs"),
)

_CRASHES = "tests/flow/test_crashes.py"
_RESTORE = "tests/flow/test_restore.py"
_FAULTS = "tests/flow/test_faults.py"
_TROUBLE = "tests/flow/test_trouble.py"
_CUTS = "tests/flow/test_cluster_cuts.py"
_LATE = "tests/flow/test_late_orders.py"
_RECALL = "tests/flow/test_recall.py"
_BED = "tests/live/test_bed.py"
_DEATHS = f"{_BED}::test_a_process_dies_while_an_instance_starts"
_WORKER = "tests/unit/test_worker.py"
_COURIER = "tests/unit/test_transfer_courier.py"
_CACHE = "tests/unit/test_transfer_cache.py"
_SAMPLES = "tests/soak/test_samples.py"
_MARIADB = "tests/live/test_mariadb.py"
_STRANGERS = "tests/flow/test_strangers.py"
_LIBVIRT = "tests/live/test_libvirt_driver.py"
_CLOUD = "tests/live/cloud/test_cloud.py"

PROMISES = (
    Row(
        "I1", "Nothing acknowledged is lost",
        "An order that was answered with its task is carried out, or its task says why not.",
        (
            f"{_CRASHES}::test_each_point_of_run_and_delete", f"{_RESTORE}::test_each_point_of_a_restore",
            f"{_FAULTS}::test_a_storm_without_a_pattern", _DEATHS,
        ),
        ("crashes", "deaths", "kills", "cuts", "faults", "seeds"),
    ),
    Row(
        "I2", "Nothing runs twice",
        "A guest runs on at most one node, and an order begins it at most once.",
        (
            f"{_SAMPLES}::test_two_hundred_double_starts",
            f"{_STRANGERS}::test_a_second_life_elsewhere_is_stopped_after_a_while_and_its_disk_stays", _DEATHS,
        ),
        ("starts", "deaths", "kills", "cuts", "faults", "seeds"),
    ),
    Row(
        "I3", "Nothing is lent twice, nothing lent is lost",
        "A MAC, an address and a display port have one holder, a dead holder's come back.",
        (f"{_MARIADB}::test_eight_lend_while_one_sweeps", f"{_SAMPLES}::test_a_few_takers_are_killed", _DEATHS),
        ("allocations/*takers", "deaths", "seeds"),
    ),
    Row(
        "I4", "Nothing sticks",
        "Every instance reaches running, stopped, failed with a reason or deleted by itself.",
        (f"{_CRASHES}::test_all_roles_die_at_once_after_each_round", f"{_TROUBLE}::test_delete_on_a_silent_host_ends", _DEATHS),
        ("crashes", "deaths", "kills", "cuts", "faults", "seeds"),
    ),
    Row(
        "I5", "No half image is seen",
        "A file under its final name has the digest it was announced with.",
        (f"{_COURIER}::test_a_sender_that_does_not_send_what_it_should", f"{_CRASHES}::test_each_point_of_publishing_an_image"),
        ("seeds", "images"),
    ),
    Row(
        "I6", "Nothing is left behind",
        "What is stopped or deleted has no process, no file, no lease, no entry in DHCP.",
        ("tests/flow/test_life.py::test_deleting_leaves_nothing_and_addresses_rest", f"{_CLOUD}::test_delete_leaves_nothing", _DEATHS),
        ("crashes", "deaths", "kills", "cuts", "seeds"),
    ),
)

FAULTS = (
    Row(
        "F01", "The web side of the CLC dies in a request",
        "The request never happened, or is durable; repeated with its key it is answered the same.",
        (f"{_SAMPLES}::test_the_web_process_dies_in_a_request", "tests/api/test_once.py::test_the_same_key_gets_the_same_answer"),
        ("crashes/web", "deaths/front clc-web", "kills/front clc-web", "with/web died"),
    ),
    Row(
        "F02", "Death between commit and sending",
        "The order is sent after the restart.",
        (f"{_CRASHES}::test_each_point_of_run_and_delete",),
        ("crashes/clc post", "crashes/cc post", "with/died at order: before post"),
    ),
    Row(
        "F03", "Death between sending and noting it",
        "It may be sent twice; it has one effect.",
        (f"{_WORKER}::test_also_in_the_next_life", f"{_CRASHES}::test_each_point_of_run_and_delete"),
        ("crashes", "starts/same order twice"),
    ),
    Row(
        "F04", "The cluster controller dies while it places",
        "One placement, or none.",
        (f"{_CRASHES}::test_each_point_of_run_and_delete", _DEATHS),
        ("crashes/cc", "deaths/head cc", "kills/head cc"),
    ),
    Row(
        "F05", "The node's program dies, its guests live",
        "They go on; it finds them again.",
        (
            "tests/flow/test_life.py::test_the_guest_keeps_running_when_every_role_restarts",
            "tests/flow/test_boot.py::test_a_node_that_starts_again_beside_its_running_guests_says_they_run",
        ),
        ("crashes/nc1", "deaths/node1 nc", "deaths/node2 nc", "kills/node1 nc", "kills/node2 nc"),
    ),
    Row(
        "F06", "The hypervisor's service dies or hangs",
        "Nothing is claimed that it did not say; nothing is deleted.",
        (
            f"{_LIBVIRT}::test_a_hung_libvirt_is_unavailable_until_it_goes_on",
            f"{_LIBVIRT}::test_guests_and_news_outlive_a_killed_libvirt",
            f"{_TROUBLE}::test_a_hypervisor_that_stays_away_is_told_and_given_up",
        ),
        ("deaths/*libvirtd", "kills/node1 libvirtd", "kills/node2 libvirtd", "faults/hypervisor frozen"),
    ),
    Row(
        "F07", "A guest's process dies",
        "Started again five times in eight hours, then failed with the reason.",
        (
            f"{_TROUBLE}::test_a_guest_that_crashes_is_started_five_times_in_eight_hours",
            f"{_CLOUD}::test_a_domain_killed_behind_our_back_comes_back",
        ),
        ("deaths/node1 guest", "deaths/node2 guest", "guests/killed"),
    ),
    Row(
        "F08", "A node loses its power",
        "Its guests are unknown within a minute, are never started elsewhere without an administrator's word, and start again on it.",
        (
            f"{_BED}::test_power_is_lost_and_comes_back",
            "tests/flow/test_lost_hosts.py::test_what_was_on_it_fails_with_that_reason_and_begins_anew_elsewhere",
            "tests/flow/test_boot.py::test_from_the_first_hello_a_guest_that_does_not_run_is_starting",
        ),
        ("faults/node without power", "with/host_power"),
    ),
    Row(
        "F09", "A store dies while an image comes in",
        "No part of it is seen; the rest arrives later.",
        (f"{_CRASHES}::test_each_point_of_publishing_an_image", "tests/live/test_doors.py::test_after_kill_9_in_the_middle_it_goes_on"),
        ("crashes/walrus", "images/upload: walrus", "images/submit: walrus"),
    ),
    Row(
        "F10", "The database says no, or dies",
        "Nothing of the step happened and it is tried again; a user is told to come back.",
        (
            "tests/flow/test_database.py::test_each_statement_of_a_run_fails_once",
            "tests/live/test_mariadb.py::test_a_server_that_is_killed_again_and_again_loses_nothing",
        ),
        ("allocations/server killed",),
    ),
    Row(
        "F11", "The broker is away",
        "Orders wait and each is done once; guests do not notice.",
        (
            f"{_TROUBLE}::test_the_broker_goes_away_at_any_moment",
            "tests/unit/test_outbox.py::test_a_broker_that_is_away_leaves_everything_in_order",
            "tests/live/test_broker_links.py::test_a_broker_without_room_takes_nothing_and_loses_nothing",
        ),
        ("faults/broker away", "deaths/front broker:", "deaths/head broker:"),
        "Kills of a broker by the soak are not counted here: before 2026-11-23 some of them were of its helper epmd.",
    ),
    Row(
        "F12", "The board is emptied or dies",
        "Pictures are slower, never wrong.",
        (f"{_TROUBLE}::test_the_board_is_emptied_all_the_time",),
        ("faults/board killed", "deaths/front board", "kills/front board"),
    ),
    Row(
        "F13", "The kernel kills a worker for its memory",
        "As any death: it comes back and goes on.",
        (f"{_CLOUD}::test_a_killed_process_is_back_by_itself", _DEATHS),
        ("deaths", "kills"),
        "Not set off by a memory limit of its own: the end is the same SIGKILL.",
    ),
    Row(
        "F14", "The broker's data are lost",
        "The bosses say again what is open.",
        (f"{_FAULTS}::test_a_broker_that_lost_all_it_held_after_each_round", f"{_FAULTS}::test_each_message_of_run_and_delete"),
        ("with/broker_lost",),
    ),
    Row(
        "F15", "A network is cut both ways",
        "Both sides go on, nothing starts twice, and two minutes after it heals all agree.",
        (f"{_BED}::test_a_cut_makes_unknown_and_nothing_else", f"{_TROUBLE}::test_a_silent_host_and_its_return"),
        ("cuts/node both ways", "cuts/head from front", "cuts/store", "with/cut"),
    ),
    Row(
        "F16", "A network is cut one way",
        "The host is told as silent; nothing else changes.",
        (f"{_BED}::test_a_cut_makes_unknown_and_nothing_else",),
        ("cuts/node hears nothing", "cuts/node is not heard", "with/cut_one_way"),
    ),
    Row(
        "F17", "Loss, delay, reordering, doubling",
        "The same end.",
        (
            f"{_FAULTS}::test_each_message_of_run_and_delete",
            f"{_FAULTS}::test_each_message_of_reboot_stop_and_start",
            f"{_FAULTS}::test_a_storm_without_a_pattern",
        ),
        ("with/messages in a storm",),
    ),
    Row(
        "F18", "The word to release is lost",
        "What it lent comes back with the next sweep.",
        (f"{_MARIADB}::test_eight_lend_while_one_sweeps",),
        ("allocations/*takers",),
    ),
    Row(
        "F19", "A connection is half open",
        "It is found out within a minute.",
        (f"{_BED}::test_a_cut_makes_unknown_and_nothing_else",),
        ("cuts",),
    ),
    Row(
        "F20", "A report is lost, late or old",
        "The picture never goes back; an end is told until it is confirmed.",
        (
            "tests/unit/test_heard.py::test_in_any_order_the_newest_wins",
            "tests/unit/test_relay.py::test_newer_wins_and_older_is_passed_over",
        ),
        ("with/messages lost or late",),
    ),
    Row(
        "F21", "The guests' DHCP is away",
        "Running guests do not notice; it comes back as the leases say.",
        (
            f"{_TROUBLE}::test_dhcp_that_is_away_for_a_while",
            "tests/live/test_dnsmasq_edge.py::test_dead_dnsmasq_runs_again_after_the_next_apply",
            "tests/conformance/test_edge.py::test_closing_does_not_take_the_network_from_the_guests", _DEATHS,
        ),
        ("deaths/head dnsmasq",),
    ),
    Row(
        "F22", "Links clog and clear one by one",
        "All agree afterwards.",
        (f"{_FAULTS}::test_a_storm_without_a_pattern",),
        ("with/cuts",),
    ),
    Row(
        "F23", "An order comes twice",
        "One effect, the same answer.",
        (f"{_WORKER}::test_a_delivery_after_the_end_says_the_outcome_again_and_runs_nothing",),
        ("starts/same order twice", "starts/said again", "with/message double"),
    ),
    Row(
        "F24", "An old order comes after a newer one",
        "It is refused.",
        (
            f"{_LATE}::test_a_start_that_comes_after_the_delete_leaves_nothing_behind",
            f"{_FAULTS}::test_two_orders_on_one_instance_that_overtake_each_other",
        ),
        ("starts/older", "starts/after a delete", "starts/orders of two places", "starts/restored memory", "with/messages late"),
    ),
    Row(
        "F25", "An order is found after its time",
        "It is not begun.",
        (f"{_WORKER}::test_an_order_whose_deadline_passed_while_the_role_was_away_is_not_begun",),
        ("with/an order after its time",),
    ),
    Row(
        "F26", "A message that cannot be read",
        "It is counted and put aside; the queue goes on.",
        (
            "tests/live/test_broker_rights.py::test_a_report_nobody_can_take_dies_with_its_story_and_can_be_sent_again",
            "tests/live/test_broker_rights.py::test_an_order_its_receiver_fails_at_dies_with_the_order_inside",
            "tests/unit/test_signing.py::test_ten_thousand_messages_with_wrong_bytes_do_no_harm",
            "tests/unit/test_journal.py::test_an_order_of_another_version_holds_up_no_other",
        ),
        (),
        "Its reader fails at it again and again; none is killed by it.",
    ),
    Row(
        "F27", "A handler hangs",
        "Others go on.",
        (
            f"{_WORKER}::test_orders_on_one_subject_take_turns_and_others_go_on", f"{_WORKER}::test_a_cancel_and_a_quick_order_overtake_a_full_lane",
            f"{_LIBVIRT}::test_a_hung_libvirt_is_unavailable_until_it_goes_on",
        ),
        ("kills/*libvirtd frozen", "faults/hypervisor frozen"),
    ),
    Row(
        "F28", "A thousand starts at once",
        "Bounded boots, fair turns, no dead host.",
        (
            "tests/flow/test_queue.py::test_one_of_another_owner_is_not_behind_nine_hundred",
            "tests/flow/test_queue.py::test_orders_go_down_in_a_window",
            "tests/flow/test_queue.py::test_a_restart_loses_nobody",
            "tests/flow/test_life.py::test_five_at_once_are_spread_and_unique",
            "tests/unit/test_boots.py::test_never_more_at_once_than_slots",
        ),
        (),
        "How long a thousand take and how soon pages answer meanwhile is measured by `make bench NAME=overload`, not counted here.",
    ),
    Row(
        "F29", "Two versions at once",
        "Both directions understand each other for one version.",
        (
            "tests/contract/test_contracts.py::test_a_changed_message_has_a_raised_version",
            "tests/contract/test_contracts.py::test_a_report_with_an_unknown_field_is_read",
        ),
        (),
        "There is one version so far; samples of each message are kept for the next.",
    ),
    Row(
        "F30", "The whole site loses its power",
        "Each use-case is undone or completed by itself.",
        (f"{_CRASHES}::test_all_roles_die_at_once_after_each_round", f"{_CUTS}::test_each_point_of_a_word_about_networks_and_access"),
        ("crashes/all roles", "with/outage"),
        "Files that were not synced are lost in the simulator; databases and journals lie in memory there and lose nothing. "
        "No machine is cut off from its power for it: that needs a machine in a machine.",
    ),
    Row(
        "F31", "A disk is full",
        "The order fails and says so; with room again, it goes on.",
        (
            "tests/live/test_full_store.py::test_it_is_said_whatever_it_strikes_and_goes_on_with_room",
            "tests/live/test_full_disk.py::test_a_full_disk_is_said_and_nothing_stays",
            f"{_COURIER}::test_a_full_disk_says_so_and_leaves_nothing", f"{_COURIER}::test_no_room_is_found_before_a_block_moves",
        ),
        ("faults/disk of a node full", "with/full_disk"),
    ),
    Row(
        "F32", "A disk gives errors",
        "What is being written fails with the reason and is not there; what was damaged is found by its digest and not used.",
        ("tests/unit/test_walrus_local_store.py::test_what_the_file_system_says", f"{_COURIER}::test_a_sender_that_does_not_send_what_it_should"),
        (),
        "By its tests only. Errors of fsync (EIO) are made at the files of the image store, not at a node's disks, a database or a journal.",
    ),
    Row(
        "F33", "Death between write and rename",
        "Old or new, never a mix.",
        (f"{_CACHE}::test_adopted_content_has_its_name_and_no_half_file",),
        ("images/*rename", "crashes/*rename", "with/died at a rename"),
    ),
    Row(
        "F34", "A transfer breaks off, its source changes",
        "It goes on or begins anew; half of it is never used.",
        (
            f"{_COURIER}::test_after_a_cut_it_goes_on_where_it_was",
            f"{_COURIER}::test_what_is_right_in_a_half_file_is_kept",
            "tests/live/test_doors.py::test_fetching_over_a_wire_that_keeps_breaking",
        ),
        ("images/*blob", "images/*push", "with/bytes broken off"),
    ),
    Row(
        "F35", "An image is evicted in use, or fetched twice",
        "What is used stays; one download.",
        (f"{_CACHE}::test_the_longest_unused_goes_first_and_never_a_pinned_one", f"{_COURIER}::test_many_waiters_one_download"),
        (),
    ),
    Row(
        "F36", "A clock jumps",
        "Nothing runs twice, is lent to two at once, or sticks. A task may end lost, and an address be lent again before it has rested.",
        (
            "tests/flow/test_found_by_seeds.py::test_clocks_set_back_hold_nothing_up",
            "tests/unit/test_signing.py::test_a_clock_a_little_ahead_is_no_harm",
        ),
        ("with/clocks",),
        "Clocks jump in the simulator. On the bed not: once a clock has jumped under libfaketime 0.9.10, Python's own sleep fails there (EINVAL).",
    ),
    Row(
        "F37", "A program stands still longer than its time, and wakes",
        "What it says or carries out then is refused where something newer was there.",
        (
            f"{_LATE}::test_a_start_that_comes_after_the_delete_leaves_nothing_behind", "tests/unit/test_heard.py::test_in_any_order_the_newest_wins",
            f"{_SAMPLES}::test_two_hundred_double_starts",
        ),
        ("kills/*clc-web frozen", "kills/*nc frozen", "kills/*cc frozen", "kills/*sc frozen", "starts/older fence", "starts/orders of two places"),
    ),
    Row(
        "F38", "Two starts of one guest",
        "It runs once.",
        (f"{_SAMPLES}::test_two_hundred_double_starts",),
        ("starts", "with/message double"),
    ),
    Row(
        "F39", "A guest nobody ordered",
        "Stopped within two minutes, its disk kept; where they are more than a tenth they are told and left alone.",
        (
            f"{_STRANGERS}::test_more_than_a_tenth_are_left_alone_and_told",
            f"{_STRANGERS}::test_a_second_life_elsewhere_is_stopped_after_a_while_and_its_disk_stays",
        ),
        ("bugs/no_brake",),
    ),
    Row(
        "F40", "A database is restored from yesterday",
        "Nothing is reaped for it. A cluster that forgot where an instance is asks the node before it starts, stops or deletes anything; "
        "the CLC's orders become newer than what the nodes know.",
        (
            f"{_STRANGERS}::test_a_cluster_that_lost_its_memory_reaps_nothing",
            f"{_LATE}::test_a_restored_memory_learns_the_generation_its_node_knows",
            f"{_RECALL}::test_what_is_deleted_is_gone_from_the_node_that_had_it",
            f"{_RECALL}::test_what_is_started_again_has_its_own_disk_and_addresses_and_runs_nowhere_else",
            f"{_RECALL}::test_what_was_deleted_since_the_copy_is_deleted_again",
            "tests/flow/test_restored_flows.py::test_a_first_run_that_ended_since_the_copy_runs_on",
            "tests/flow/test_listings.py::test_a_first_run_that_the_copy_knows_nothing_of_is_not_placed_twice",
            "tests/flow/test_listings.py::test_what_others_have_is_not_lent_before_it_is_known_again",
        ),
        ("with/older_copy",),
        gap="A node that joined since the copy is asked nothing before its cluster has let it in again; what was run there since may run twice until then.",
    ),
    Row(
        "F41", "A node is cloned",
        "The second one is not let in: it starts nothing and says nothing.",
        (
            "tests/api/test_joining.py::test_the_same_request_with_another_key_is_refused",
            "tests/unit/test_marks.py::test_a_copy_is_refused_with_what_to_do",
            "tests/live/test_broker_links.py::test_the_second_waits_in_silence_and_takes_over_when_the_first_is_gone",
        ),
        (),
    ),
    Row(
        "F42", "A host that was woken never comes",
        "It fails at its time.",
        (),
        (),
        "Waking hosts by network is not built yet.",
    ),
    Row(
        "F43", "Deleted while it is being made",
        "Deletion wins, everything is given back.",
        ("tests/flow/test_cancel.py::test_after_each_round_of_run", "tests/flow/test_cancel.py::test_cancel_after_each_round_of_run"),
        ("with/deleted before it ran",),
    ),
    Row(
        "F44", "Nothing is left to lend",
        "A clear error, nothing half lent.",
        (
            f"{_TROUBLE}::test_no_node_has_room",
            "tests/flow/test_many_forwards.py::test_too_many_for_the_pool_are_refused_with_the_reason_and_the_others_are_open",
            "tests/flow/test_pools_and_leases.py::test_when_all_are_lent_it_says_what_there_is_and_when_more_comes",
        ),
        ("allocations/*takers",),
    ),
)
