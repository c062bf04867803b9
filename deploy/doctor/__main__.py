"""``python3 -m deploy.doctor [--json]``: the examination without the command line client, also before anything is installed."""

from __future__ import annotations

import json
import sys


def main(argv: list[str]) -> int:
    """Exit code 1 when something fails."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this very file is run by whatever Python is there
        sys.stderr.write("fail  python  %d.%d is too old: 3.11 or newer is needed\n" % sys.version_info[:2])  # noqa: UP031
        return 1
    from deploy.doctor import checks
    from deploy.doctor.finding import FAIL

    found = checks()
    if "--json" in argv:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(found)))
    return 1 if any(f["health"] == FAIL for f in found) else 0


def lines(found: list[dict[str, str]]) -> list[str]:
    """The findings for people: one line each, and beneath what is not ok why and what to do."""
    width = max((len(f["name"]) for f in found), default=0)
    shown = []
    for f in found:
        shown.append(f"{f['health']:<4}  {f['name']:<{width}}  {f['what']}")
        shown += [f"{'':<6}{'':<{width}}  {word} {f[key]}" for word, key in (("why: ", "why"), ("next:", "next")) if f[key]]
    return shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
