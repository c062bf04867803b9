"""Sentences of the roles in Chinese: whole, with values, in lists; and that none of what a page may show is left out."""

import ast
import re
import time
from pathlib import Path

import pytest
from django.utils import translation

from clc.services import sentences
from clc.services.sentences import counted, said

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("clc/services/departures.py", "clc/services/belongings.py", "clc/services/profiles.py", "clc/services/account_requests.py",
         "clc/services/passkeys.py", "clc/web/page.py",
         "clc/web/guard.py", "clc/services/people.py", "clc/services/sign_in.py", "clc/services/second_step.py", "clc/services/tokens.py",
         "clc/services/lock_out.py", "clc/web/pages/account.py", "clc/services/images.py", "clc/services/imports.py",
         "clc/services/instance_reports.py", "clc/services/instances.py",
         "clc/services/instance_asks.py", "clc/services/networks.py", "clc/services/cards.py",
         "clc/services/access.py", "clc/services/forwards.py", "clc/services/rules.py", "clc/services/security_groups.py", "clc/services/elastic.py",
         "luhyaapi/subnets.py",
         "clc/services/image_properties.py", "clc/services/image_uses.py", "clc/services/comparisons.py",
         "clc/services/uploads.py", "luhyaapi/contracts/specs.py",
         "clc/services/workspaces.py",
         "clc/services/admission.py", "clc/services/queue.py",
         "clc/services/screens.py", "luhyadb/scope.py", "luhyadb/paths.py", "clc/services/groups.py", "clc/services/access_roles.py", "clc/services/grants.py",
         "clc/services/shares.py", "clc/services/quotas.py", "clc/services/batches.py", "luhyaapi/tables.py", "clc/services/spans.py", "clc/services/expiry.py",
         "clc/services/expiry_rules.py", "clc/services/budgets.py", "clc/services/reports.py",
         "clc/services/directories.py", "clc/services/directory_people.py", "clc/services/directory_links.py",
         "clc/services/directory_lines.py", "clc/services/directory_checks.py",
         "clc/services/provider_sign_in.py", "clc/services/sealed.py",
         "cc/services/placement.py", "cc/services/flows.py", "cc/handlers.py",
         "cc/services/tunnels.py", "nc/services/serial.py")
"""What a user of the pages reads most. The rest is translated as it comes up."""


def chinese(text):
    with translation.override("zh-hans"):
        return said(text)


def test_english_stays_as_it_is():
    with translation.override("en"):
        assert said("There is no image 'x'") == "There is no image 'x'"
        assert said(None) == said("") == ""


@pytest.mark.parametrize(("text", "told"), [
    ("There is no such page", "没有这个页面"),
    ("There is no instance 'ins-00000001'", "没有实例 'ins-00000001'"),
    ("This instance cannot start now: it is running; possible now: delete, reboot, stop", None),
    ("This instance cannot be restored now: it waits for a new system disk", None),
    ("Too many runs of yours would wait: 9 wait, at most 10 can", None),
    ("The queue is full: 9 runs wait, at most 10 can", None),
    ("No node is that big: the most that one offers is 8 CPUs, and 4096 MiB of memory", None),
    ("needed by 1 instance and 2 hosts", "被 1 个实例和 2 台主机 使用"),
    ("No node can take 1 CPU and 512 MiB of memory now", "现在没有节点能提供 1 个处理器和 512 MiB 内存"),
    ("nc-0000000a not enough memory: 512 MiB wanted, 0 of 9 free; nc-0000000b is silent, last heard 40 s ago", None),
    ("nc-0000000a not enough processors: 9 CPUs wanted, 0 of 8 free; nc-0000000b not enough disk: 9 MiB wanted, 1 of 2 free", None),
    ("nc-0000000a is being drained; nc-0000000b its hypervisor does not answer: no socket; and 3 more", None),
    ("2 of 3 up; vm: no heartbeat; 1 message refused at the door", None),
    ("The image 'x' is in use: needed by 1 instance", None),
    ("1 order in line, the first for 7 s: the broker does not answer", None),
    ("a sentence of somebody else", "a sentence of somebody else"),
    ("Kernel panic: not syncing", "Kernel panic: not syncing"),
    ("   ", "   "),
    ("it is running", "它的状态是：运行中"),  # noqa: RUF001 - Chinese has its own colon
    ("it is damaged or cut off", "文件已损坏或不完整"),
    ("it is beyond words", "it is beyond words"),
    ("it is cut off: its gz packing does not end", None),
    ("The disk file cannot be accepted: it is based on another file (backing file), which would not come with it", None),
    ("The disk file cannot be accepted: it is damaged or cut off (9)", None),
])
def test_in_chinese(text, told):
    found = chinese(text)
    if told is None:
        assert re.search("[\u4e00-\u9fff]", found), found
        assert not re.search("[a-z]{4}", re.sub("socket", "", found)), found
    else:
        assert found == told


def test_values_cannot_break_a_sentence():
    assert "{0.__class__}" in chinese("There is no image '{0.__class__}'")
    for strange in ("x: " * 2000, "x: " * 199, "a, " * 199, "; ".join(["b: c, d"] * 60)):
        began = time.process_time()
        assert chinese(strange) == strange
        assert time.process_time() - began < 1


def test_numbers_have_their_words():
    assert [counted(n, "host") for n in (0, 1, 2)] == ["0 hosts", "1 host", "2 hosts"]
    assert counted(2, "entry", "entries") == "2 entries"


def _text(node):
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
    return ""


@pytest.mark.parametrize("file", SHOWN)
def test_what_pages_show_is_known(file):
    unknown = []
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Refused", "Unavailable", "Failed")):
            continue
        for said_ in (_text(a) for a in [*node.args[1:], *(k.value for k in node.keywords if k.arg == "hint")]):
            texts = [said_.replace("{}", value) for value in ("9", "running")]
            if re.search("[a-z]{3}", texts[0]) and all(chinese(text) == text for text in texts):
                unknown.append(said_)
    assert unknown == [], "give it a line in clc/services/sentences.py and in the catalogue"


def _told():
    """What every event says, as far as it stands where it is recorded."""
    for file in sorted((ROOT / "clc").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (getattr(node.func, "attr", "") == "record" or getattr(node.func, "id", "") == "_note"):
                yield from (_text(each) for arg in node.args[1:3] for each in ast.walk(arg) if isinstance(each, ast.Constant | ast.JoinedStr))


def test_what_events_say_is_known():
    told = {text for text in _told() if re.search("[a-z]{3} [a-z{]", text)}
    assert len(told) > 80
    assert not {text for text in told if re.search("[a-z]{3}", chinese(text.replace("{}", "running")))}, "a line in clc/services/event_sentences.py"


def test_every_sentence_has_as_many_places_in_chinese():
    with translation.override("zh-hans"):
        for sentence in sentences.SENTENCES:
            told = translation.gettext(sentence)
            assert told != sentence, sentence
            assert told.count("{}") == sentence.count("{}"), sentence


OF_FORMATS = ("qcow2|raw|vdi|vhdx?|vmdk|ova|ovf|extent|gz|gzip|zst|zstd|xz|cpio|bzImage|Linux|ELF|MiB|MD5|sha256|URL|XX|qemu-img|check|r|ca-certificates")
RAISED = ("Refused", "Failed", "Unavailable", "refused", "cut_off")


def _reasons():
    """Every text with which the store and what moves bytes for it may refuse."""
    for file in sorted([*(ROOT / "walrus").rglob("*.py"), *(ROOT / "luhyaapi/transfer").rglob("*.py")]):
        tree = ast.parse(file.read_text("utf-8"))
        parts = {id(part) for whole in ast.walk(tree) if isinstance(whole, ast.JoinedStr) for part in whole.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED:
                yield from map(_text, [*node.args[node.func.id not in ("refused", "cut_off") :], *(k.value for k in node.keywords if k.arg == "hint")])
            elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in parts and re.match("(it|its|the ova|unpacked it) [a-z]", _text(node)):
                yield _text(node)


def test_every_reason_of_the_store_is_all_chinese():
    reasons = {text for text in _reasons() if re.search("[a-z]{3}", text)}
    assert len(reasons) > 150
    assert "it is damaged or cut off" in reasons
    half = {}
    for text in reasons:
        told = chinese(text.replace("{}", "9"))
        left = re.sub(rf"\b({OF_FORMATS})\b", "", told)
        if told == text or re.search("[A-Za-z]", left):
            half[text] = told
    assert half == {}, "give it a line in clc/services/more_sentences.py and in the catalogue"


OF_LINKS = ("luhyaapi/edge/links.py", "nc/services/probes.py", "cc/services/probes.py", "clc/services/probes.py", "nc/drivers/user_network.py")


@pytest.mark.parametrize("file", OF_LINKS)
def test_what_is_said_of_a_link_is_known(file):
    unknown = []
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("ok", "broken", "skipped"):
            texts = [_text(each).replace("{}", "running") for each in node.args[1:]]
            unknown += [text for text in texts if re.search("[a-z]{3}", text.replace("running", "")) and chinese(text) == text]
    assert unknown == [], "give it a line in clc/services/probe_sentences.py and in the catalogue"
