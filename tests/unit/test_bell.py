import threading

from luhyaapi import bell


def test_a_ring_is_heard(tmp_path_factory):
    at = tmp_path_factory.mktemp("b") / bell.NAME
    heard = threading.Event()
    hung = bell.Bell(at, heard.set)
    hung.start()
    try:
        assert at.stat().st_mode & 0o777 == 0o600
        bell.ring(at)
        assert heard.wait(5)
    finally:
        hung.stop()
    assert not at.exists()


def test_a_bell_left_by_a_killed_process_is_hung_again(tmp_path_factory):
    at = tmp_path_factory.mktemp("b") / bell.NAME
    heard = threading.Event()
    for _ in range(2):
        hung = bell.Bell(at, heard.set)
        hung.start()
    try:
        bell.ring(at)
        assert heard.wait(5)
    finally:
        hung.stop()


def test_nobody_has_to_be_there(tmp_path):
    bell.ring(tmp_path / "nowhere")
    bell.ring(tmp_path / ("x" * 200))


def test_a_place_too_long_for_a_bell_holds_nothing_up(tmp_path):
    hung = bell.Bell(tmp_path / ("x" * 120), lambda: None)
    hung.start()
    hung.stop()
