"""A block store that lives: what may happen to it in any order, with deaths at any point."""

import hashlib
import random
import shutil

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from luhyaapi import points
from luhyaapi.transfer.blocks import BLOCK
from tests.support import scratch
from tests.support.image_store import opened, whole


def noise(blocks, seed):
    """Blocks that are all different, the same for the same seed."""
    return random.Random(seed).randbytes(blocks * BLOCK)


class Death(BaseException):
    """The process ends here."""


class Living(RuleBasedStateMachine):
    """Files come and go, the store is collected, dies at any point and is opened again; every file that was added stays readable."""

    files = Bundle("files")

    def __init__(self):
        super().__init__()
        self.folder = scratch.folder("blockstore")
        self.objects = self.make_objects()
        self.store, self.added = self.opened(), {}

    def make_objects(self):
        """A store of objects with nothing in it; in the folder when there is none."""

    def opened(self):
        return opened(self.folder, objects=self.objects)

    @rule(target=files, pieces=st.lists(st.integers(0, 12), min_size=1, max_size=5), dies=st.one_of(st.none(), st.integers(0, 12)))
    def add(self, pieces, dies):
        content = b"".join(noise(8, seed) if seed else bytes(8 * BLOCK) for seed in pieces)
        sha256 = hashlib.sha256(content).hexdigest()
        file = self.folder / "in"
        file.write_bytes(content)
        if self._lives(dies, lambda: self.store.add(file, sha256)):
            self.added[sha256] = content
        return sha256

    @rule(sha256=consumes(files))
    def remove(self, sha256):
        self.store.remove(sha256)
        self.added.pop(sha256, None)

    @rule(dies=st.one_of(st.none(), st.integers(0, 12)))
    def collect(self, dies):
        self._lives(dies, self.store.collect)

    @rule(anew=st.booleans())
    def restart(self, anew):
        self._open(anew)

    @invariant()
    def nothing_is_lost(self):
        for sha256, content in self.added.items():
            assert whole(self.store, sha256) == content

    def _lives(self, dies, act):
        left = dies

        def hook(_name):
            nonlocal left
            if left is not None:
                left -= 1
                if left < 0:
                    raise Death

        before = points.use(hook)
        try:
            act()
        except Death:
            points.use(before)
            self._open(anew=False)
            return False
        finally:
            points.use(before)
        return True

    def _open(self, anew):
        self.store.close()
        if anew:
            for file in (self.folder / "places").iterdir():
                file.unlink()
        self.store = self.opened()

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.folder)
