"""The link to libvirt, against the hypervisor that libvirt pretends inside this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import libvirt
import pytest

from luhyaapi import clock
from luhyaapi.errors import Failed, Refused, Unavailable
from nc.drivers.libvirt_link import STUCK_CALLS, Absent, Link


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link("test:///default", timeout_s=5)
    yield made
    made.close()


def domains(connection: libvirt.virConnect) -> list[str]:
    return [domain.name() for domain in connection.listAllDomains()]


def test_one_connection_serves_all_calls(link: Link) -> None:
    assert link.ask(lambda c: c, what="first") is link.ask(lambda c: c, what="second")
    assert link.ask(domains, what="listed") == ["test"]


def test_closed_is_opened_again(link: Link) -> None:
    first = link.ask(lambda c: c, what="first")
    link.close()
    assert link.ask(lambda c: c, what="second") is not first


def test_absence_is_an_answer(link: Link) -> None:
    with pytest.raises(Absent):
        link.ask(lambda c: c.lookupByName("nobody"), what="looked up")


def test_no_is_failed_with_libvirts_words(link: Link) -> None:
    with pytest.raises(Failed, match="defined") as trouble:
        link.ask(lambda c: c.defineXML("<domain/>"), what="it could not be defined")
    assert (trouble.value.code, bool(trouble.value.why)) == ("hypervisor", True)


def test_our_own_errors_pass(link: Link) -> None:
    def refuse(_connection: libvirt.virConnect) -> None:
        raise Refused("state", "no")

    with pytest.raises(Refused):
        link.ask(refuse, what="asked")


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="nonsense") as trouble:
        Link("nonsense:///x", timeout_s=5).ask(domains, what="listed")
    assert trouble.value.code == "hypervisor_down"


def test_a_hanging_call_hangs_nobody_and_many_are_not_piled_up(link: Link) -> None:
    go_on = threading.Event()
    try:
        for _ in range(STUCK_CALLS):
            with pytest.raises(Unavailable, match="did not answer"):
                link.ask(lambda _c: go_on.wait(20), what="listed", timeout_s=0.01)
        before = clock.monotonic()
        with pytest.raises(Unavailable, match="hang"):
            link.ask(domains, what="listed")
        assert clock.monotonic() - before < 4
    finally:
        go_on.set()
    until = clock.monotonic() + 5
    while clock.monotonic() < until:
        try:
            assert link.ask(domains, what="listed") == ["test"]
            break
        except Unavailable:
            clock.sleep(0.01)
    else:
        pytest.fail("the link did not recover")


def soon(holds: Callable[[], bool]) -> bool:
    until = clock.monotonic() + 5
    while not (answer := holds()) and clock.monotonic() < until:
        clock.sleep(0.01)
    return answer


def test_guests_that_hang_hang_nobody_else_and_each_only_one_call(link: Link) -> None:
    shared = link.ask(lambda c: c, what="first")
    go_on, hung = threading.Event(), [f"guest {n}" for n in range(2 * STUCK_CALLS)]
    begun: list[str] = []
    try:
        for guest in hung:
            with pytest.raises(Unavailable, match="process did not answer"):
                link.ask_guest(guest, lambda _c, it=guest: (begun.append(it), go_on.wait(20)), what="asked", timeout_s=0.05)
        for guest in hung:
            with pytest.raises(Unavailable, match="earlier call"):
                link.ask_guest(guest, lambda _c, it=guest: begun.append(it), what="asked")
        assert begun == hung
        assert link.ask(domains, what="listed") == ["test"]
        assert link.ask(lambda c: c, what="again") is shared
        assert link.ask_guest("another", domains, what="asked") == ["test"]
    finally:
        go_on.set()
    assert soon(lambda: all(call.done for call in link._stuck))
    assert link.ask_guest(hung[0], domains, what="asked") == ["test"]


def test_news_come_by_themselves_also_after_reopening(link: Link) -> None:
    told: list[str] = []
    link.watch(told.append)
    for _ in range(2):
        told.clear()
        link.ask(lambda c: c.lookupByName("test").destroy(), what="destroyed")
        link.ask(lambda c: c.lookupByName("test").create(), what="created")
        until = clock.monotonic() + 5
        while "test" not in told and clock.monotonic() < until:
            clock.sleep(0.01)
        assert "test" in told
        link.close()
