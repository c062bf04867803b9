"""A harmless name for a file, out of what a stranger calls it."""

from __future__ import annotations

import re
from urllib.parse import unquote

_LONGEST = 100
_READ_AT_MOST = 4096
_EXTENDED = re.compile(r";\s*filename\*\s*=\s*[A-Za-z0-9-]*'[^';]*'([^;\s]+)", re.IGNORECASE)
_QUOTED = re.compile(r';\s*filename\s*=\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_TOKEN = re.compile(r';\s*filename\s*=\s*([^";\s]+)', re.IGNORECASE)


def suggested(disposition: str, path: str) -> str:
    """A name from a Content-Disposition header, or else from the last segment of a URL's path.

    At most 100 of ``A-Z a-z 0-9 . _ -``, beginning with a letter or digit; "" when nothing is left.
    """
    text = disposition[:_READ_AT_MOST]
    if found := _EXTENDED.search(text):
        name = unquote(found[1], errors="replace")
    else:
        found = _QUOTED.search(text) or _TOKEN.search(text)
        name = found[1] if found else ""
    return _harmless(name) or _harmless(unquote(path, errors="replace"))


def _harmless(name: str) -> str:
    last = re.split(r"[/\\]", name)[-1]
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", last)
    return re.sub(r"\.{2,}", ".", safe)[-_LONGEST:].strip("._-")
