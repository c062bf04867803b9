"""``python -m deploy.demo_images tiny|probe|debian --out DIR [--work DIR]``: builds one demo image."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.demo_images import build
from luhyaapi import log
from luhyaapi.errors import Trouble

_BUILDERS = {"tiny": build.build_tiny, "probe": build.build_probe, "debian": build.build_debian}


def main(argv: list[str] | None = None) -> int:
    """Builds what the arguments name; progress goes to standard error. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo_images", description="Build a demo image.")
    parser.add_argument("image", choices=sorted(_BUILDERS))
    parser.add_argument("--out", type=Path, required=True, help="where the image's folder is put")
    parser.add_argument("--work", type=Path, help="where fetched packages are kept (default: OUT/.work)")
    asked = parser.parse_args(argv)
    log.setup("WARNING")
    try:
        built = _BUILDERS[asked.image](
            asked.out, asked.work or asked.out / ".work",
            lambda step, share: print(f"{share:4.0%} {step}", file=sys.stderr),
        )
    except Trouble as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)
        return 1
    for part, file in built.files.items():
        print(f"{part}\t{file}\t{file.stat().st_size}")
    print(f"{'built' if built.fresh else 'unchanged'} in {built.took_s:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
