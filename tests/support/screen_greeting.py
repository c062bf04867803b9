"""``python -m tests.support.screen_greeting INSTANCE``: the first words of its display, by a one-time ticket, as a browser gets them."""

import faulthandler
import sys

from deploy.cli import api, line
from deploy.cli.session import Session

if __name__ == "__main__":
    faulthandler.dump_traceback_later(45)  # who waits for it ends it soon
    session = Session()
    with line.opened(session, api.path("instances", sys.argv[1], "screen")) as socket:
        words = socket.recv(timeout=20)
        sys.stdout.buffer.write(words if isinstance(words, bytes) else words.encode())
