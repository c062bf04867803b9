"""The programs others would take, which the benchmarks run beside ours."""

from __future__ import annotations

import shutil

PACKAGES = {"rsync": "rsync", "casync": "casync", "zsyncmake": "zsync", "nginx": "nginx-light", "b3sum": "b3sum", "openssl": "openssl",
            "zstd": "zstd", "bzip2": "bzip2", "curl": "curl", "debugfs": "e2fsprogs",
            "gzip": "gzip", "iptables": "iptables", "iptables-restore": "iptables", "ip": "iproute2", "qemu-img": "qemu-utils",
            "dhcpd": "isc-dhcp-server", "busybox": "busybox-static", "dnsmasq": "dnsmasq-base", "mariadbd": "mariadb-server"}
"""Program -> its Debian package."""


def needed(*programs: str) -> None:
    """Raises SystemExit, naming what to install, when one of them is not here."""
    missing = sorted({PACKAGES[program] for program in programs if shutil.which(program) is None})
    if missing:
        raise SystemExit(f"Not installed on this host: {', '.join(missing)}. Run: apt-get install {' '.join(missing)}")
