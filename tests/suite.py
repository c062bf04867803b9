"""``python -m tests.suite``: all tests. Those with services and guests wait often; the others run meanwhile, and stand back for them.

What the others said is shown after the rest. Ends with 0 when both are green, else with 1, or 130 when interrupted.
"""

import os
import subprocess
import sys
import tempfile

_PYTEST = [sys.executable, "-m", "pytest", "-q"]
_ALONE = [*_PYTEST, "-n", "auto", "--dist", "worksteal", "-m", "not live"]
_LIVE = [*_PYTEST, "-n", "2", "--dist", "loadscope", "-m", "live"]
_STAND_BACK = 19


def main() -> int:
    """Run both; the exit code."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        alone = subprocess.Popen(_ALONE, stdout=said, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(_STAND_BACK))
        try:
            live = subprocess.run(_LIVE, check=False).returncode
            alone.wait()
        except KeyboardInterrupt:
            alone.wait()
            return 130
        said.seek(0)
        print("The tests without services and guests:", said.read(), sep="\n", flush=True)
    return int(bool(live or alone.returncode))


if __name__ == "__main__":
    sys.exit(main())
