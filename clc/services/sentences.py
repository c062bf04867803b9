"""Sentences that roles say in English, in the reader's language: whole ones, and such with values in them."""

from __future__ import annotations

import functools
import re

from django.utils import translation
from django.utils.translation import gettext_noop as _

from clc.services.access_sentences import ACCESS
from clc.services.directory_sentences import DIRECTORIES
from clc.services.event_sentences import EVENTS
from clc.services.more_sentences import GUESTS, NETWORKS, STORE
from clc.services.people_sentences import PEOPLE
from clc.services.pool_sentences import POOLS
from clc.services.probe_sentences import LINKS
from clc.services.right_sentences import RIGHTS
from clc.services.sign_in_sentences import SIGN_IN
from luhyaapi.contracts import vocabulary
from luhyaapi.contracts.vocabulary import Word

SENTENCES = (
    _("There is no such page"),
    _("There is nothing at this address"),
    _("The form is too old or came from elsewhere"),
    _("its CSRF token is missing or does not fit"),
    _("Load the page again, then send it again."),
    _("The request is not valid"),
    _("Something unexpected happened"),
    _("the log tells more under request {}"),
    _("the log tells more"),
    _("Not permitted"),
    _("Nobody is signed in"),
    _("Too many requests"),
    _("Too many sign in at the same moment"),
    _("Somebody changed it at the same moment"),
    _("Look again, then try again."),
    _("The database does not take it now"),
    _("This address does not do that"),
    _("There is no {} {}"),
    _("nothing you may see has that name or id"),
    _("Only an administrator may do this"),
    _("This {} cannot {} now"),
    _("it is {}"),
    _("possible now: {}"),
    _("Copy the file again, and compare its size or sha256 with the original's."),
    _("The disk file cannot be accepted"),
    _("it is cut off: its partition table ends at {}, the file has {}"),
    _("an upload of it is under way"),
    _("version {} is its newest"),
    _("Choose another name; or where it shall become its next version, say so: new_version, --new-version."),
    _("a new version was asked for"),
    _("{} is the image's, not a version's"),
    _("the image has {}"),
    _("Leave it away; `educloud image set`, or Change on its page, changes it."),
    _("the upload was abandoned"),
    _("it is being deleted, and its disk may be gone already"),
    _("give part (disk, kernel, initrd), size_bytes above 0, format (qcow2, raw, or none: it is found out)"),
    _("it is a word of the API"),
    _("format is not possible"),
    _("give qcow2, raw or nothing: it is found out; not {}"),
    _("That URL may not be fetched"),
    _("only {} are fetched"),
    _("it has a user name or password in it, which others would get to see"),
    _("its host or port cannot be read"),
    _("its host is no name of a host"),
    _("its host is no address"),
    _("port {} is no port for {}"),
    _("it names a folder, not a file"),
    _("{}: it is not a public address"),
    _("{}: the administrator denies that network"),
    _("{} leads to {}: it is not a public address"),
    _("it redirects more than {} times"),
    _("The file could not be fetched"),
    _("Check the URL, then import it again."),
    _("The file was not fetched in time"),
    _("The file is too large"),
    _("{} bytes are announced, {} are allowed"),
    _("The other side's answer cannot be accepted"),
    _("The other side does not prove its name"),
    _("The fetch was cancelled"),
    _("The object store cannot be used now"),
    _("Too many event streams"),
    _("{} are open already"),
    _("Close some pages."),
    _("The console is stopping"),
    _("instance"),
    _("task"),
    _("image"),
    _("host"),
    _("image version"),
    _("upload"),
    _("user"),
    _("stop"),
    _("start"),
    _("reboot"),
    _("restore"),
    _("delete"),
    _("cancel"),
    _("drain"),
    _("resume"),
    _("{} instance"),
    _("{} instances"),
    _("{} host"),
    _("{} hosts"),
    _("{} and {}"),
    _("{} message"),
    _("{} messages"),
    _("{} order"),
    _("{} orders"),
    _("{} message"),
    _("{} messages"),
    _("{} CPU"),
    _("{} CPUs"),
    _("The user name is not possible"),
    _("letters, digits, . _ @ -, at most 63"),
    _("it stands for whoever asks"),
    _("The role is not possible"),
    _("There is a user {} already"),
    _("The password is not strong enough"),
    _("Name or password is wrong"),
    _("This account is no more"),
    _("Nobody can delete the account they are signed in with"),
    _("Ask another administrator."),
    _("The last administrator cannot be deleted"),
    _("nobody else could manage this cloud than {}"),
    _("Add another administrator first."),
    _("list them by `educloud user list`"),
    _("roles are walrus, cc, nc, sc; not {}"),
    _("{} does not wait for approval"),
    _("Only a node can be drained"),
    _("The cloud controller cannot remove itself"),
    _("{} is still in use"),
    _("needed by {}"),
    _("Delete them first; drain keeps new ones away. If its machine is gone for good: `educloud host remove --lost`."),
    _("The parts make no image"),
    _("give a disk, or a kernel with or without initrd and disk"),
    _("The name is not possible"),
    _("letters, digits, dot, dash and underscore, at most 63, no other sign"),
    _("usage is not possible"),
    _("kind is not possible"),
    _("persistence is not possible"),
    _("give persistent or transient, not {}"),
    _("give desktop or server, not {}"),
    _("cmdline is not possible"),
    _("printable ASCII, at most 1024 signs"),
    _("The image store does not answer now"),
    _("The image {} has no published version"),
    _("The image {} has no published version {}"),
    _("wait until it is checked, or look at its versions"),
    _("There is no image {}"),
    _("it was deleted"),
    _("The part {} cannot be taken"),
    _("named twice, or larger than 4 TiB"),
    _("The image {} is in use"),
    _("Delete those instances first."),
    _("The image {} cannot be modified"),
    _("it has no disk: its system lives in memory"),
    _("Upload another kernel or ram disk as its next version."),
    _("There is an image {} already"),
    _("or somebody is making one of that name"),
    _("Version {} of {} was published meanwhile"),
    _("Another version of {} is just being published"), _("from the workspace {}"),
    _("Wait for it, or submit yours anyway (with --anyway): the later one is the newest, without what is in the other."),
    _("this workspace began from version {}"),
    _("Submit it anyway (with --anyway) to publish yours as the newest, without what is in the other."),
    _("This workspace cannot be abandoned now"),
    _("version {} is just being published"),
    _("This workspace cannot {} now"),
    _("This instance cannot be deleted"),
    _("the workspace {} works in it"),
    _("Abandon the workspace, or submit it."),
    _("This instance cannot start now"),
    _("it waits for a new system disk"),
    _("Wait for that task, or cancel it."),
    _("This instance cannot be restored now"),
    _("it has no disk yet"),
    _("something else is being done with it"),
    _("There is no version {} of {} to restore to"),
    _("give newest, or the number of a published one"),
    _("The disk cannot be submitted now"),
    _("its instance is {}"),
    _("There is no version {} of {} to go back to"),
    _("only published versions can be gone back to"),
    _("Version {} of {} is the newest already"),
    _("There is no version {} of {} to retire"),
    _("only published versions can be retired"),
    _("Version {} is the only one of {}"),
    _("Delete the image instead."),
    _("Version {} of {} is in use"),
    _("The instance runs"),
    _("its disk can be read only while it is stopped"),
    _("The instance has no disk"),
    _("The workspace was abandoned"),
    _("This upload is over"),
    _("its version is {}"),
    _("A sha256 is not possible"),
    _("64 hexadecimal digits"),
    _("The {} file cannot be accepted"),
    _("The {} file is not complete"),
    _("The {} file is not the announced one"),
    _("{} of {} bytes are here"),
    _("its sha256 is {}, not {}"),
    _("disk"),
    _("kernel"),
    _("initrd"),
    _("There is no room for the image"),
    _("{} MiB are needed, {} MiB are missing in {}"),
    _("The bytes did not arrive"),
    _("The transfer was cut"),
    _("The other side cannot send now"),
    _("The other side does not give these bytes"),
    _("Fetching the image was cancelled"),
    _("The time is not possible"),
    _("give a moment of the next three days"),
    _("give date and time"),
    _("No host is named"),
    _("give names or ids of clusters and nodes, or all"),
    _("There is no cluster or node {}"),
    _("The node does not answer"),
    _("it does not answer"),
    _("The cluster has no such node"),
    _("it was removed"),
    _("It was not there before the deadline"),
    _("The image is not on every host"),
    _("the time passed; it is not yet on {}"),
    _("Checking the upload was cancelled"),
    _("{} is not possible"),
    _("it is one of {}"),
    _("Submit or abandon those workspaces first."),
    _("Cancel those prefetches first, or wait for them."),
    _("Wait until those versions are published."),
    _("{} is in use"),
    _("Version {} of {} was just retired"),
    _("Take a newer one."),
    _("A version does not differ from itself"),
    _("give two versions"),
    _("There is no version {} of {} to compare"),
    _("only published versions can be compared"),
    _("There is no version {} of {} to pin"),
    _("only published versions can be pinned"),
    _("give 0 to {}; 0: all are kept"),
    _("at most {} signs"),
    _("letters, digits, space, dot, dash, plus and underscore"),
    _("give a path like edu.school.class: lower-case letters, digits and dashes between the dots"),
    _("One cannot sort by {}"),
    _("nodes have no firmware for uefi; give bios"),
    _("the machine type q35 has no ide; give sata, or the machine type pc"),
    _("Only the hardware is a version's own"),
    _("the other properties are those of {}, whatever its version"),
    _("give {} to {}; you gave {}"),
    _("That much memory is not possible"),
    _("give 64M to 1T"),
    _("An ssh key cannot be read"),
    _("The user-data is not possible"),
    _("it has a NUL in it"),
    _("it is not UTF-8"),
    _("it has {} bytes of UTF-8; at most {} are possible"),
    _("{} is not a one-line public key"),
    _("You have an instance {} already"),
    _("There is no cluster yet"),
    _("no CC has joined"),
    _("No cluster answers now"),
    _("Its cluster does not answer now"),
    _("There is no node yet"),
    _("no NC has joined"),
    _("No node is that big"),
    _("No node has a disk that big"),
    _("the largest is {} MiB"),
    _("A data disk of that size is not possible"),
    _("give 16M to 16T"),
    _("Ask for less, or add a bigger node."),
    _("The image {} is still being built"),
    _("{} %: {}"),
    _("Wait until it is there, then try again."),
    _("Try again, or have an administrator set a new password."),
    _("the most that one offers is {} CPUs, and {} MiB of memory"),
    _("The queue is full"),
    _("{} runs wait, at most {} can"),
    _("Too many runs of yours would wait"),
    _("{} wait, at most {} can"),
    _("A node is being chosen"),
    _("Others are started first"),
    _("No room was found in time"),
    _("Its cluster is not there any more"),
    _("Several instances are called {}"),
    _("use the id"),
    _("{} is on no node"),
    _("{} shows no screen"),
    _("{} has no serial console now"),
    _("{} cannot be reached now"),
    _("The instance has no address now"),
    _("none is lent to it"),
    _("Too many lines to this instance are open"),
    _("Too many lines to instances are open"),
    _("at most {} can"),
    _("Nothing listens at port {} of the instance"),
    _("The instance does not answer at port {}"),
    _("This cluster has no way to its guests"),
    _("its network is none of its own"),
    _("The instance does not run"),
    _("Port {} of the instance is not reached here"),
    _("its node runs without rights and forwards these: {}"),
    _("Start it first."),
    _("This ticket is not valid"),
    _("it was used, is too old, or belongs to somebody else"),
    _("Something else is being done with this instance"),
    _("it waits for that to end"),
    _("The instance has no place in this cluster"),
    _("it was never run here, or was deleted"),
    _("It was cancelled"),
    _("The step {} had no answer before the deadline"),
    _("No news before the deadline"),
    _("the last step was {}"),
    _("Look at `educloud status`; if the host comes back the task goes on."),
    _("Its deadline passed before it could be done"),
    _("A step could not be done"),
    _("the log of this role says more"),
    _("No node can take it"),
    _("no node has joined this cluster"),
    _("No node can take {} and {} MiB of memory now"),
    _("Its node cannot take it now"),
    _("is {}, last heard {} s ago"),
    _("is being drained"),
    _("does not understand {}"),
    _("its hypervisor does not answer: {}"),
    _("not enough memory: {} MiB wanted, {} of {} free"),
    _("not enough processors: {} CPUs wanted, {} of {} free"),
    _("not enough disk: {} MiB wanted, {} of {} free"),
    _("and {} more"),
    _("fits, but {} weighed the same and has the lower id ({})"),
    _("fits, but {} weighed more ({})"),
    _("No {} is free"),
    _("of {}, {} are lent and {} rest after their last use"),
    _("It was cancelled before it booted"),
    _("Stopping was cancelled"),
    _("the guest may still end by itself"),
    _("The guest ended unexpectedly"),
    _("it was restarted {} times in 8 hours"),
    _("The instance has no console log yet"),
    _("The instance shows no screen"),
    _("The instance has no serial console now"),
    _("The instance has no serial console"),
    _("its hypervisor offers none"),
    _("This machine has a serial console after its next start"),
    _("it was started before there were any"),
    _("Too many look at this serial console"),
    _("Nothing listens there"),
    _("The instance has no console log yet"),
    _("The instance has no place in this cluster"),
    _("There is nothing to boot"),
    _("{} does not answer"),
    _("{} did not end in {} s"),
    _("The program {} is not there"),
    _("a test guest booted with hardware virtualization"),
    _("a test guest with hardware virtualization hung and was ended after {} s"),
    _("a test guest with hardware virtualization did not boot: {}"),
    _("{} is not there: no hardware virtualization on this host"),
    _("no probe kernel, so {} could not be proved"),
    _("hardware virtualization could not be tried: {}"),
    _("set to {} by the administrator, not proved"),
    _("answers"),
    _("no orders wait"),
    _("A newer order on this instance came first"),
    _("this one was late"),
    _("{} in line, the first for {} s"),
    _("{} could not be handled: educloud letter list"),
    _("the broker does not answer"),
    _("does not answer"),
    _("memcached does not answer; load and progress are not shown"),
    _("not known while the board does not answer"),
    _("clc-relay does not report"),
    _("orders wait and go out by themselves"),
    _("{} of {} up"),
    _("no heartbeat"),
    _("not started yet"),
    _("draining"),
    _("waits for approval"),
    _("the hypervisor does not answer"),
    _("{} refused at the door"),
    *STORE, *GUESTS, *NETWORKS, *POOLS, *RIGHTS, *ACCESS, *LINKS, *SIGN_IN, *DIRECTORIES, *PEOPLE, *EVENTS,
)
"""Every ``{}`` stands for a value, which may be a sentence or a word of ours itself."""

_ID = re.compile(r"([a-z]{2,6}-[0-9a-f]{8}):? (.+)", re.DOTALL)
_SEMICOLON, _COMMA, _COLON = "\uff1b", "\u3001", "\uff1a"
_DEEPEST, _LONGEST, _COLONS_AT_MOST = 3, 600, 3
"""What others wrote may come here, and must not cost time."""
_NO_PLACE = "{}"
_OF_WORDS = ("it is {}", "its instance is {}", "its version is {}", "possible now: {}", "task {}", "instance {}", "workspace {}", "host {}")
"""Their places are for words of ours: with anything else in them they would say what nobody meant."""
_BETWEEN = ("; ", ", ")


def counted(number: int, one: str, many: str = "") -> str:
    """``1 instance``, ``2 instances``; ``many`` where an s at the end does not make it."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text.replace(_NO_PLACE, "")))


@functools.cache
def _patterns(*, whole: bool = False) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Those with values, the most particular first. Only a value at the end may itself be a sentence with its reason.

    ``whole``: those that look like a list and are none, with no value that may be a part of one.
    """
    known = sorted((s for s in SENTENCES if _NO_PLACE in s and (not whole or any(sign in s for sign in _BETWEEN))), key=_letters, reverse=True)
    return tuple((re.compile(_expression(s, whole=whole), re.DOTALL), s) for s in known)


def _expression(sentence: str, *, whole: bool) -> str:
    *before, last = map(re.escape, sentence.split(_NO_PLACE))
    plain = "((?:(?!: |; |, ).)+?)" if whole else "((?:(?!: ).)+?)"
    return plain.join(before) + (plain if last or whole else "(.+)") + last


@functools.cache
def _words() -> dict[str, str]:
    """English word of the vocabulary to Chinese."""
    kinds = [k for k in vars(vocabulary).values() if isinstance(k, type) and issubclass(k, Word)]
    return {str(word): word.zh for kind in kinds for word in kind}


def said(text: object) -> str:
    """A sentence of ours that comes from elsewhere, such as the reason of an error, in the reader's language."""
    if not text:
        return ""
    if not (translation.get_language() or "en").startswith("zh"):
        return str(text)
    whole = str(text)
    return _said(whole, 0) if len(whole) <= _LONGEST else whole


def _said(text: str, depth: int) -> str:
    chinese = str(translation.gettext(text)) if text.strip() else text
    if chinese != text or text in _words() or depth > _DEEPEST:
        return _words().get(text, chinese)
    for way in (_about_host, _as_whole, _listed, _with_values, _with_reason):
        told = way(text, depth + 1)
        if told != text:
            return told
    return text


def _about_host(text: str, depth: int) -> str:
    """``nc-0123abcd is being drained``."""
    found = _ID.fullmatch(text)
    told = _said(found[2], depth) if found else ""
    return f"{found[1]} {told}" if found and told != found[2] else text


def _listed(text: str, depth: int) -> str:
    for between, joined in zip(_BETWEEN, (_SEMICOLON, _COMMA), strict=True):
        pieces = text.split(between)
        if depth > _DEEPEST:
            break
        if between == _BETWEEN[1] and ": " in pieces[0] and not any(": " in piece for piece in pieces[1:]):
            continue  # the list is that of a reason
        told = [_said(piece, depth) for piece in pieces] if len(pieces) > 1 else pieces
        # A comma may stand within a sentence: only a list of which all is known is one.
        if told != pieces and (between == "; " or all(map(str.__ne__, pieces, told))):
            return joined.join(told)
    return text


def _as_whole(text: str, depth: int) -> str:
    """A sentence with commas in it."""
    return _filled(text, depth, _patterns(whole=True))


def _with_values(text: str, depth: int) -> str:
    return _filled(text, depth, _patterns())


def _filled(text: str, depth: int, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, sentence in patterns:
        if not (found := pattern.fullmatch(text)):
            continue
        values = [_said(value, depth) for value in found.groups()]
        if sentence in _OF_WORDS and any(map(str.__eq__, values, found.groups())):
            continue
        return str(translation.gettext(sentence)).format(*values)
    return text


def _with_reason(text: str, depth: int) -> str:
    """A sentence, a colon, and why."""
    for at in [found.start() for found in re.finditer(": ", text)][:_COLONS_AT_MOST]:
        what, why = text[:at], text[at + 2 :]
        told = _said(what, depth)
        if told != what:
            return f"{told}{_COLON}{_said(why, depth)}"
    name, _colon, why = text.partition(": ")
    told = _said(why, depth)
    return f"{name}{_COLON}{told}" if told != why else text
