"""``python -m tests.soak --minutes N``: see :mod:`tests.soak.command`."""

import sys

from tests.soak.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
