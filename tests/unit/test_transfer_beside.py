"""What is done beside the one who brings it: in order, bounded, and no error is lost."""

import threading

import pytest

from luhyaapi.errors import Failed
from luhyaapi.transfer.beside import Beside


@pytest.mark.parametrize("threaded", [True, False])
def test_all_is_done_in_order(threaded):
    done = []
    with Beside(done.append, threaded=threaded) as beside:
        for n in range(100):
            beside.put(n)
        beside.drain()
        assert done == list(range(100))
        beside.put(100)
    assert done == list(range(101)), "what was put is done when it ends"


@pytest.mark.parametrize("threaded", [True, False])
def test_an_error_comes_to_who_puts_and_nothing_is_done_after_it(threaded):
    done = []

    def act(n):
        if n == 2:
            raise Failed("digest", "Other bytes came than expected")
        done.append(n)

    def give():
        with Beside(act, threaded=threaded) as beside:
            for n in range(100):
                beside.put(n)
            beside.drain()

    with pytest.raises(Failed, match="Other bytes"):
        give()
    assert done == [0, 1]


def test_few_wait():
    gate, begun = threading.Event(), []

    def act(n):
        begun.append(n)
        gate.wait(10)

    with Beside(act, threaded=True) as beside:
        giver = threading.Thread(target=lambda: [beside.put(n) for n in range(20)])
        giver.start()
        giver.join(0.2)
        assert giver.is_alive(), "it waits until there is room"
        assert begun == [0]
        gate.set()
        giver.join(10)
    assert begun == list(range(20))
