"""python -m tests.simulator: run seeds, tell the story of one, count what happened."""

from __future__ import annotations

import sys

import tests.conftest  # noqa: F401 - settles Django for one process
from tests.simulator.command import main

sys.exit(main(sys.argv[1:]))
