"""What somebody may try: on images, archives, what is fetched, and paths, and then as somebody else; each row with the tests that show what becomes of it."""

from __future__ import annotations

from deploy.fault_table import Row
from deploy.people_attacks import PEOPLE

_INSPECTION = "tests/unit/test_inspection.py"
_FORMATS = "tests/unit/test_formats.py"
_UNPACKING = "tests/unit/test_unpacking.py"
_OVA = "tests/unit/test_ova.py"
_VMDK = "tests/unit/test_vmdk.py"
_CONVERSION = "tests/live/test_conversion_attacks.py"
_SANDBOX = "tests/live/test_sandbox.py"
_DOORS = "tests/live/test_doors.py"
_DRAFTS = "tests/unit/test_drafts.py"
_LIBRARY = "tests/unit/test_walrus_library.py"
_STORE = "tests/unit/test_walrus_blockstore.py"
_BLOCKS = "tests/unit/test_transfer_blocks.py"
_COURIER = "tests/unit/test_transfer_courier.py"
_NEIGHBOURS = "tests/unit/test_transfer_neighbours.py"
_RULES = "tests/unit/test_fetch_rules.py"
_WALLS = "tests/live/fetch/test_fetch_walls.py"
_LIES = "tests/live/fetch/test_fetch_lies.py"
_WORKS = "tests/live/fetch/test_fetch_works.py"
_FETCH = "tests/live/test_import_by_url.py"
_API = "tests/api/test_image_doors.py"
_ATTACKS = "tests/flow/test_image_attacks.py"

ATTACKS = (
    Row(
        "A01", "A disk that is based on a file of the host, or of a server",
        "It is refused when it comes; behind the walls there would be nothing.",
        (
            f"{_INSPECTION}::test_a_backing_file_is_refused", f"{_INSPECTION}::test_a_backing_file_that_is_not_there_is_refused",
            f"{_CONVERSION}::test_a_disk_based_on_something_of_the_host_is_refused", f"{_CONVERSION}::test_behind_the_walls_it_would_find_nothing",
        ),
        ("attacks/A01",),
    ),
    Row(
        "A02", "A disk whose data is elsewhere, or with features nobody knows",
        "It is refused.",
        (
            f"{_INSPECTION}::test_an_external_data_file_is_refused", f"{_INSPECTION}::test_unknown_features_are_refused",
            f"{_CONVERSION}::test_a_data_file_is_refused",
        ),
        ("attacks/A02",),
    ),
    Row(
        "A03", "A VMDK that names files, or plays with its footer",
        "Only one file that stands alone is taken, and converted behind walls.",
        (
            f"{_VMDK}::test_a_description_that_names_other_files_is_refused", f"{_VMDK}::test_kinds_of_several_files_are_refused",
            f"{_VMDK}::test_tricks_around_a_footer_are_refused", f"{_CONVERSION}::test_vmdks_of_other_files_find_nothing_behind_the_walls",
            f"{_CONVERSION}::test_a_vmdk_that_names_a_host_file_is_refused",
        ),
        ("attacks/A03",),
    ),
    Row(
        "A04", "A file that passes for another format, also one a guest wrote into its own disk",
        "What came as a disk is raw from then on, whatever is written in it; nobody looks again.",
        (
            f"{_FORMATS}::test_none_passes_for_what_it_is_not", f"{_FORMATS}::test_a_raw_disk_on_which_a_guest_wrote_a_header_is_refused",
            f"{_FORMATS}::test_two_formats_at_once_are_refused", f"{_INSPECTION}::test_qcow2_declared_raw_is_refused",
            f"{_ATTACKS}::test_a_guest_that_writes_a_header_finds_its_header_again",
        ),
        ("attacks/A04",),
    ),
    Row(
        "A05", "Giants and bombs: of size, of ratio, of tables, of snapshots",
        "They end at a bound of bytes, ratio, time or memory, before they have taken the room.",
        (
            f"{_INSPECTION}::test_a_giant_is_refused", f"{_INSPECTION}::test_many_snapshots_are_refused",
            f"{_UNPACKING}::test_a_bomb_ends_at_the_size_that_is_allowed", f"{_UNPACKING}::test_a_bomb_ends_at_the_ratio_that_disks_have",
            f"{_UNPACKING}::test_a_zst_bomb_within_one_piece_of_input_takes_no_memory", f"{_UNPACKING}::test_it_has_an_end_in_time",
            f"{_CONVERSION}::test_giants_are_refused", f"{_CONVERSION}::test_a_bomb_is_refused_and_its_rest_is_gone",
            f"{_BLOCKS}::test_a_frame_that_unpacks_to_more_than_it_says_is_refused", f"{_BLOCKS}::test_an_index_that_unpacks_to_more_than_it_may_is_refused",
            f"{_COURIER}::test_an_endless_index_is_not_taken_in",
        ),
        ("attacks/A05",),
    ),
    Row(
        "A06", "An archive with names that lead elsewhere, links, devices, the same name twice, thousands of files",
        "It is refused, and nothing is written beside the disk that is in it.",
        (
            f"{_OVA}::test_names_that_lead_elsewhere_are_refused", f"{_OVA}::test_members_that_are_no_plain_files_are_refused",
            f"{_OVA}::test_the_same_name_twice_is_refused", f"{_OVA}::test_a_huge_number_of_files_is_refused",
            f"{_OVA}::test_headers_that_lie_are_refused", f"{_CONVERSION}::test_an_appliance_writes_nothing_beside_the_store",
        ),
        ("attacks/A06",),
    ),
    Row(
        "A08", "A file system in an image that harms who mounts it; a kernel taken out of one",
        "Nobody on a host mounts an image or takes a kernel out of one.",
        (f"{_ATTACKS}::test_nobody_mounts_an_image",),
        ("attacks/A08",),
    ),
    Row(
        "A09", "A URL that leads to a private address, however it is written",
        "No connection is opened to it.",
        (
            f"{_RULES}::test_all_others_may_not", f"{_RULES}::test_an_address_that_is_not_public_is_forbidden_however_it_is_written",
            f"{_WALLS}::test_a_forbidden_address_is_not_reached_directly", f"{_FETCH}::test_a_private_address_is_not_even_knocked_at",
        ),
        ("attacks/A09",),
    ),
    Row(
        "A10", "A redirect to a private address, or to another protocol",
        "Each is judged anew; there are few of them.",
        (
            f"{_RULES}::test_redirects_are_checked_anew", f"{_WALLS}::test_a_forbidden_address_is_not_reached_by_a_redirect",
            f"{_WALLS}::test_a_redirect_leads_to_no_other_protocol",
        ),
        ("attacks/A10",),
    ),
    Row(
        "A11", "A name that means a public address first and a private one later",
        "The address is judged where the connection is opened.",
        (f"{_WALLS}::test_a_name_that_changes_its_mind_reaches_nothing", f"{_WALLS}::test_a_forbidden_address_is_not_reached_by_a_name"),
        ("attacks/A11",),
    ),
    Row(
        "A12", "A server that lies, drips, never ends, or packs what nobody asked it to",
        "It is bounded in bytes, time and rate; of its lies nothing is kept.",
        (
            f"{_LIES}::test_a_head_is_bounded", f"{_LIES}::test_an_endless_body_ends", f"{_LIES}::test_ranges_that_lie_are_found_out",
            f"{_LIES}::test_an_encoding_nobody_asked_for_is_not_taken", f"{_WORKS}::test_a_side_that_drips_is_cut_off",
            f"{_WALLS}::test_an_ftp_server_cannot_point_elsewhere", f"{_RULES}::test_a_url_that_breaks_a_rule_is_refused_by_its_name",
        ),
        ("attacks/A12",),
    ),
    Row(
        "A16", "A program that was fed a malicious image breaks out",
        "It sees one file, no network, no process, no rights, and ends at its limits.",
        (
            f"{_SANDBOX}::test_it_reads_what_is_named_and_nothing_else", f"{_SANDBOX}::test_it_reaches_nobody",
            f"{_SANDBOX}::test_it_sees_nobody_and_has_no_rights", f"{_SANDBOX}::test_it_ends_at_its_limits", f"{_SANDBOX}::test_nothing_of_it_is_left_running",
        ),
        ("attacks/A16",),
    ),
    Row(
        "A18", "Names and ids of images, uploads, drafts and objects that are paths or options",
        "They are refused by what they may be made of.",
        (
            f"{_LIBRARY}::test_ids_that_are_none", f"{_DRAFTS}::test_what_cannot_be_a_draft",
            "tests/conformance/test_object_store.py::test_what_is_no_name_is_refused_everywhere",
            "tests/unit/test_walrus_local_store.py::test_links_lead_nowhere", f"{_DOORS}::test_other_addresses_are_not_found",
            f"{_ATTACKS}::test_no_name_of_an_image_is_a_path",
        ),
        ("attacks/A18",),
    ),
    Row(
        "A24", "Bytes of an image taken or put without a right to them",
        "Only with a ticket for just that file, of just that receiver, and for as long as it holds.",
        (
            f"{_DOORS}::test_without_a_good_ticket_nothing_comes", f"{_DOORS}::test_fetching_with_a_bad_ticket",
            f"{_API}::test_a_draft_needs_the_ticket_of_its_submit", f"{_STORE}::test_a_manifest_of_somebody_else_is_not_believed_and_nothing_is_collected",
        ),
        ("attacks/A24",),
    ),
    Row(
        "A25", "Fields of a version set by who may not: state, owner, files, number",
        "They are the server's own, whoever sends them.",
        (f"{_API}::test_fields_of_the_server_are_set_by_nobody",),
        ("attacks/A25",),
    ),
    Row(
        "A26", "What a deleted guest wrote is read by the next",
        "A new disk has nothing in it but its image.",
        (f"{_ATTACKS}::test_a_new_disk_has_nothing_of_another", "tests/flow/test_life.py::test_deleting_leaves_nothing_and_addresses_rest"),
        ("attacks/A26",),
    ),
    Row(
        "A27", "Other bytes than announced, from a store, a cluster, a neighbour or a node that lies",
        "Each block is proved before it is kept; of who lies nothing more is taken.",
        (
            f"{_LIBRARY}::test_a_digest_that_was_not_announced_is_found", f"{_COURIER}::test_another_image_is_found_out",
            f"{_COURIER}::test_a_sender_that_does_not_send_what_it_should", f"{_NEIGHBOURS}::test_a_neighbour_that_lies_is_asked_no_more",
            f"{_NEIGHBOURS}::test_a_boss_that_lies_ends_it", f"{_DRAFTS}::test_damaged_and_foreign_blocks_are_refused",
            f"{_BLOCKS}::test_no_damaged_frame_gives_a_block",
        ),
        ("attacks/A27",),
    ),
    Row(
        "A32", "A node that pushes what nobody ordered, under the name of another's submit, or blocks of another file",
        "Its cluster passes on only what belongs to the submit that it itself ordered.",
        (f"{_ATTACKS}::test_a_node_pushes_only_what_was_ordered", f"{_DRAFTS}::test_damaged_and_foreign_blocks_are_refused"),
        ("attacks/A32",),
    ),
    *PEOPLE,
)
