"""Images through the client: what is refused before talking, cuts and resumes, honest formats, sizes."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from deploy.cli import demo, sizes, upload
from deploy.demo_images import build
from deploy.demo_images.stage import Built
from luhyaapi.errors import Failed, Refused
from tests.support.cli_calls import Cli, cli_fixture

_client = cli_fixture
QCOW2 = b"QFI\xfb" + b"\0" * 60


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "CHUNK", 10)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    file = tmp_path / "disk.raw"
    file.write_bytes(bytes(range(95)))
    return file


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("2G", 2 << 30), ("1GiB", 1 << 30), ("3K", 3072), ("1T", 1 << 40), ("7B", 7), ("1048576", 1 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    assert sizes.parse(text) == size


@pytest.mark.parametrize("text", ["", "0", "0M", "-1G", "1.5G", "G", "1g", "1 G", "1GB", "1e9", "٣M", "9999999T", "1G\n", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        sizes.parse(text)
    assert refused.value.code == "invalid"


def test_sizes_for_people() -> None:
    assert [sizes.show(s) for s in (None, 0, 512 << 20, 1536, 1 << 41)] == ["-", "0 B", "512 MiB", "1.5 KiB", "2.0 TiB"]


def test_upload_of_a_disk(cli: Cli, disk: Path, small_pieces: None) -> None:
    ended = cli("image", "upload", str(disk), "--name", "mine", "--json")
    assert ended.code == 0
    assert ended.json["name"] == "mine"
    (image,) = cli.cloud.images.values()
    assert cli.cloud.blobs[image["id"], 1, "disk"] == disk.read_bytes()
    assert cli("image", "versions", "mine", "--json").json[0]["version"] == 1


def test_a_second_version_is_wished_for(cli: Cli, disk: Path) -> None:
    assert cli("image", "upload", str(disk), "--name", "mine").code == 0
    ended = cli("image", "upload", str(disk), "--name", "mine", "--json")
    assert (ended.code, ended.json["error"]["code"]) == (5, "exists")
    assert "--new-version" in ended.json["error"]["hint"]
    assert cli("image", "import", "https://example.org/x", "--name", "mine").code == 5
    assert cli("image", "upload", str(disk), "--name", "mine", "--new-version").code == 0
    assert cli("image", "import", "https://example.org/x", "--name", "mine", "--new-version").code == 0
    assert [v["version"] for v in cli("image", "versions", "mine", "--json").json] == [1, 2, 3]


def test_an_upload_is_given_up(cli: Cli, disk: Path) -> None:
    cli.line.cuts = lambda r: "before" if r.method == "PUT" else ""
    ended = cli("image", "upload", str(disk), "--name", "mine")
    (ident,) = cli.cloud.uploads
    assert f"--abandon {ident}" in ended.err
    cli.line.cuts = lambda _request: ""
    assert cli("image", "upload", "--name", "mine", "--abandon", ident, "--json").json == {"id": ident, "state": "abandoned"}
    assert not cli.cloud.uploads


def test_upload_of_a_kernel_package(cli: Cli, tmp_path: Path) -> None:
    kernel, initrd = tmp_path / "k", tmp_path / "i"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"\x1f\x8binitrd")
    args = ("image", "upload", "--name", "t", "--kernel", str(kernel), "--initrd", str(initrd), "--cmdline", "quiet")
    assert cli(*args).code == 0
    assert {part for _, _, part in cli.cloud.blobs} == {"kernel", "initrd"}


def test_bad_files_are_refused_before_talking(cli: Cli, tmp_path: Path) -> None:
    empty, folder, pipe = tmp_path / "empty", tmp_path / "folder", tmp_path / "pipe"
    empty.touch()
    folder.mkdir()
    os.mkfifo(pipe)
    for bad in (empty, folder, pipe, tmp_path / "missing", tmp_path / ("x" * 300), Path("a\0b")):
        ended = cli("image", "upload", str(bad), "--name", "x", "--json")
        assert ended.code == 2, bad
        assert ended.json["error"]["code"] == "invalid"
    assert cli("image", "upload", "--name", "x").code == 2
    assert cli("image", "upload", "--name", "x", "--initrd", str(empty)).code == 2
    assert not cli.line.tries


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "../up", "", "..", "a\nb", "x" * 300])
def test_bad_names_are_refused_before_talking(cli: Cli, disk: Path, name: str) -> None:
    ended = cli("image", "upload", str(disk), "--name", name)
    assert ended.code == 2
    assert "\x1b" not in ended.err
    assert not cli.line.tries


@pytest.mark.parametrize(
    ("name", "data", "flag"),
    [("a.qcow2", b"noise" * 9, ""), ("a.raw", QCOW2, ""), ("a.img", QCOW2, "raw"), ("a.img", b"noise", "qcow2"),
     ("a.vmdk", b"noise", ""), ("a.img", b"\x1f\x8bzip", "raw"), ("a.img", b"PK\x03\x04", ""), ("a.img", b"noise", "")],
)  # fmt: skip
def test_a_format_that_is_not_true_is_refused(cli: Cli, tmp_path: Path, name: str, data: bytes, flag: str) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    ended = cli("image", "upload", str(file), "--name", "x", "--json", *(("--format", flag) if flag else ()))
    assert ended.code == 1
    assert ended.json["error"]["code"] == "image_format"
    assert not cli.line.tries


def test_the_first_bytes_state_the_format(tmp_path: Path) -> None:
    file = tmp_path / "a.img"
    file.write_bytes(QCOW2)
    assert not upload.disk_format(file), "the cloud finds it out"
    assert upload.disk_format(file, "qcow2") == "qcow2"
    file.write_bytes(b"\0" * 9)
    assert upload.disk_format(file, "raw") == "raw"
    file.write_bytes(bytes(510) + b"\x55\xaa")
    assert upload.disk_format(file) == "raw"


@pytest.mark.parametrize("head", [
    b"KDMV", b"vhdxfile", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", bytes(64) + b"\x7f\x10\xda\xbe", bytes(257) + b"ustar",
])
def test_what_the_cloud_converts_is_sent_as_it_is(tmp_path: Path, head: bytes) -> None:
    file = tmp_path / "a.img"
    file.write_bytes(head + b"more")
    assert not upload.disk_format(file)


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_upload_goes_on_after_cuts(cli: Cli, disk: Path, small_pieces: None, where: str) -> None:
    count = iter(range(1000))
    cli.line.cuts = lambda r: where if r.method == "PUT" and next(count) % 3 else ""
    assert cli("image", "upload", str(disk), "--name", "mine").code == 0
    (image,) = cli.cloud.images.values()
    assert cli.cloud.blobs[image["id"], 1, "disk"] == disk.read_bytes()


def test_an_upload_that_cannot_go_on_says_how_to_take_it_up(cli: Cli, disk: Path, small_pieces: None) -> None:
    def cut(request: httpx.Request) -> str:
        return "before" if request.method == "PUT" and request.url.params["offset"] != "0" else ""

    cli.line.cuts = cut
    ended = cli("image", "upload", str(disk), "--name", "mine")
    assert ended.code == 8
    (ident,) = cli.cloud.uploads
    assert f"--resume {ident}" in ended.err
    cli.line.cuts = lambda _request: ""
    sent = len(cli.line.tries)
    assert cli("image", "upload", str(disk), "--name", "mine", "--resume", ident).code == 0
    offsets = [int(r.url.params["offset"]) for r in cli.line.tries[sent:] if r.method == "PUT"]
    assert min(offsets) == 10
    (image,) = cli.cloud.images.values()
    assert cli.cloud.blobs[image["id"], 1, "disk"] == disk.read_bytes()


def test_a_resume_with_another_file_is_refused(cli: Cli, disk: Path, tmp_path: Path) -> None:
    cli("image", "upload", str(disk), "--name", "mine")
    (ident,) = cli.cloud.uploads
    other = tmp_path / "other.raw"
    other.write_bytes(b"short")
    assert cli("image", "upload", str(other), "--name", "mine", "--resume", ident).code == 2


def test_a_file_that_shrinks_is_noticed(cli: Cli, disk: Path, small_pieces: None) -> None:
    def shrink(request: httpx.Request) -> str:
        if request.method == "PUT" and request.url.params["offset"] == "20":
            disk.write_bytes(b"only this is left")
        return ""

    cli.line.cuts = shrink
    ended = cli("image", "upload", str(disk), "--name", "mine", "--json")
    assert ended.code == 1
    assert ended.json["error"]["code"] == "digest"
    assert not cli.cloud.images


def test_a_refused_image_ends_with_the_reason(cli: Cli, disk: Path) -> None:
    cli.cloud.fail_tasks_with = {"code": "image_format", "what": "It has a backing file", "why": "x", "hint": ""}
    ended = cli("image", "upload", str(disk), "--name", "mine", "--json")
    assert ended.code == 1
    assert ended.json["error"]["what"] == "It has a backing file"


def test_the_newest_version_that_can_be_read_is_downloaded(cli: Cli, tmp_path: Path) -> None:
    cli.cloud.add_image("mine", kernel=b"one")
    cli.cloud.add_image("mine", kernel=b"two")["versions"][-1]["state"] = "retired"
    assert cli("image", "download", "mine", str(tmp_path / "kernel"), "--part", "kernel", "--json").json["version"] == 1
    assert (tmp_path / "kernel").read_bytes() == b"one"


def test_download_whole_or_not_at_all(cli: Cli, tmp_path: Path) -> None:
    image = cli.cloud.add_image("mine", disk=b"0123456789")
    target = tmp_path / "out"
    assert cli("image", "download", "mine", str(target), "--json").json["size_bytes"] == 10
    assert target.read_bytes() == b"0123456789"
    assert cli("image", "download", "mine", str(target)).code == 5
    cli.cloud.blobs[image["id"], 1, "disk"] = b"tampered!!"
    assert cli("image", "download", "mine", str(target), "--force").code == 1
    assert target.read_bytes() == b"0123456789"
    assert cli("image", "download", "mine", str(tmp_path / "no" / "where")).code == 2
    assert cli("image", "download", "mine", str(tmp_path / "v9"), "--version", "9").code == 3
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_delete_and_show(cli: Cli) -> None:
    cli.cloud.add_image("mine", disk=b"x")
    assert cli("image", "show", "mine").out
    assert cli("image", "delete", "mine", "--yes", "--json").json["state"] == "deleted"
    assert cli("image", "show", "mine").code == 3


def test_show_is_for_people(cli: Cli) -> None:
    image = cli.cloud.add_image("mine", disk=b"x")
    image["cached_on"] = ["cc-00000001", "nc-00000001"]
    image["versions"][0]["cached_on"] = [{"host": "nc-00000001", "host_name": "n", "role": "nc", "whole": True, "bytes_done": 1, "bytes_total": 1}]
    shown = cli("image", "show", "mine").out
    assert "cc-00000001, nc-00000001" in shown
    assert not any(sign in shown for sign in '[]{}"')
    assert "-" not in [line.strip() for line in shown.splitlines()]


def test_an_abandoned_workspace_says_so(cli: Cli) -> None:
    made = cli.cloud.add_workspace("wks-00000001")
    ended = cli("workspace", "abandon", "wks-00000001", "--yes")
    assert (ended.code, "is abandoned" in ended.err, "abandoned" in ended.out) == (0, True, True)
    asked = {request.path for request in cli.cloud.requests if "/tasks/" in request.path}
    assert asked == {f"/api/v1/tasks/{made['instance']['task']}/"}


def test_a_demo_image_with_the_same_bytes_is_not_sent_again() -> None:
    parts = [{"part": "kernel", "uploaded": {"sha256": "a"}}, {"part": "initrd", "uploaded": {"sha256": "b"}}, {"part": "disk", "uploaded": None}]
    image = {"versions": [{"version": 3, "parts": parts[:2]}, {"version": 4, "parts": parts}]}
    assert demo.same(image, {"kernel": "a", "initrd": "b"}) == 3
    assert demo.same(image, {"kernel": "a", "initrd": "c"}) is None
    assert demo.same(None, {"disk": "d"}) is None


def test_build_demo_uploads_what_is_new_and_only_that(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"initrd 1")

    def builder(out: Path, work: Path, progress: build.Progress) -> Built:
        progress("pack", 0.5)
        return Built("tiny", out, {"kernel": kernel, "initrd": initrd}, "quiet", "x", fresh=True, took_s=0.1)

    monkeypatch.setattr(build, "build_tiny", builder)
    cli.environ["EDUCLOUD_HOME"] = str(tmp_path / "home")
    first = cli("image", "build-demo", "--only", "tiny", "--json")
    (made,) = first.json
    assert (made["name"], made["version"], made["uploaded"]) == ("tiny", 1, True)
    assert "pack" in first.err
    assert [(b["state"], b["phases"]) for b in cli.cloud.builds.values()] == [("done", [("pack", 50)])]
    assert cli("image", "build-demo", "--no-debian", "--json").json[0]["uploaded"] is False
    assert len(cli.cloud.uploads) == 1
    initrd.write_bytes(b"initrd 2")
    assert cli("image", "build-demo", "--only", "tiny", "--json").json[0]["version"] == 2
    assert cli("image", "build-demo", "--only", "debian", "--no-debian").code == 2


@pytest.mark.parametrize(("becomes", "code", "what"), [
    ("running", "program", "cpio ended with 1"), ("cancelling", "cancelled", "The build was cancelled"),
])
def test_a_build_that_fails_or_is_cancelled_says_so_to_the_cloud(
    becomes: str, code: str, what: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def builder(out: Path, work: Path, progress: build.Progress) -> Built:
        progress("pack", 0.5)
        for each in cli.cloud.builds.values():
            each["state"] = becomes
        progress("seal", 1.0)
        raise Failed("program", "cpio ended with 1", "no space")

    monkeypatch.setattr(build, "build_tiny", builder)
    cli.environ["EDUCLOUD_HOME"] = str(tmp_path / "home")
    assert cli("image", "build-demo", "--only", "tiny", "--json").json["error"]["code"] == code
    (told,) = cli.cloud.builds.values()
    assert (told["state"], told["what"]) == ("failed", what)


def test_import_by_url_waits_and_shows_the_image(cli: Cli) -> None:
    ended = cli("image", "import", "https://example.org/disk.img", "--name", "far", "--usage", "desktop", "--json")
    assert (ended.code, ended.json["name"]) == (0, "far")
    (image,) = cli.cloud.images.values()
    assert cli.cloud.blobs[image["id"], 1, "disk"] == b"https://example.org/disk.img"
    ended = cli("image", "import", "https://example.org/disk.img", "--name", "more", "--no-wait")
    assert ended.code == 0
    assert ended.out.startswith("tsk-")


def test_import_under_a_bad_name_is_refused_before_talking(cli: Cli) -> None:
    assert cli("image", "import", "https://example.org/f", "--name", "../up").code == 2
    assert not cli.line.tries


def test_prefetch_waits_and_says_what_is_late(cli: Cli) -> None:
    cli.cloud.add_image("debian", disk=b"x")
    ended = cli("image", "prefetch", "--image", "debian", "--hosts", "nc1, nc2,", "--by", "2030-01-31T08:00Z")
    assert ended.code == 0
    assert cli.cloud.requests[0].form == {"hosts": ["nc1", "nc2"], "by": "2030-01-31T08:00:00.000Z"}
    assert "not yet on nc1" in ended.err
    assert [line.split()[:2] for line in ended.out.splitlines() if line.startswith("nc")] == [["nc1", "done"], ["nc2", "running"]]
    assert cli("image", "prefetch", "--image", "debian", "--json").json["state"] == "done"
    assert [r.form for r in cli.cloud.requests if r.method == "POST"][-1] == {"hosts": ["all"], "by": None}
    cli.cloud.fail_tasks_with = {"code": "host_silent", "what": "The image is not on every host", "why": "nc1", "hint": "Start it."}
    assert cli("image", "prefetch", "--image", "debian").code == 1
    assert cli("image", "prefetch", "--image", "debian", "--no-wait", "--json").json["state"] == "queued"
