"""Swift's four servers over one folder, run by Debian's own Python: ``python3 swift_servers.py FOLDER`` until its input ends.

``FOLDER/etc`` holds ``swift.conf`` and a configuration of each server, named as in ``SERVERS``; the rings are made there.
"""

import os
import signal
import sys
from configparser import ConfigParser
from pathlib import Path

from swift.common import utils
from swift.common.ring import RingBuilder
from swift.common.wsgi import run_wsgi

SERVERS = ("account", "container", "object", "proxy")


def make_ring(kind, etc):
    """One partition on one drive: what a cloud of one machine needs."""
    builder = RingBuilder(0, 1, 0)
    conf = ConfigParser(interpolation=None)
    conf.read(etc / f"{kind}.conf")
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "port": conf["DEFAULT"].getint("bind_port"), "device": "drive"})
    builder.rebalance()
    builder.get_ring().save(str(etc / f"{kind}.ring.gz"))


def main():
    etc = Path(sys.argv[1]) / "etc"
    utils.set_swift_dir(str(etc))
    for kind in SERVERS[:-1]:
        make_ring(kind, etc)
    started = []
    try:
        for kind in SERVERS:
            pid = os.fork()
            if not pid:
                os._exit(run_wsgi(str(etc / f"{kind}.conf"), f"{kind}-server", verbose=True))
            started.append(pid)
        sys.stdin.read()
    finally:
        for pid in started:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
