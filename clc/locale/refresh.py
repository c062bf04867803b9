"""Collects every text of the pages and of the error codes into the Chinese catalogue and compiles it: python clc/locale/refresh.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PO = HERE / "zh_Hans" / "LC_MESSAGES" / "django.po"
HEAD = """msgid ""
msgstr ""
"Project-Id-Version: eduCloud\\n"
"Language: zh_Hans\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"""
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def _field(block: str, name: str) -> str:
    found = re.search(rf'^{re.escape(name)} ((?:"(?:[^"\\]|\\.)*"\n?)+)', block, re.MULTILINE)
    return "".join(_QUOTED.findall(found.group(1))) if found else ""


def read(text: str) -> dict[str, tuple[str, str, bool]]:
    """Text of a catalogue -> English: (plural, Chinese, whether it has places for values), all as written there."""
    found = {}
    for block in text.split("\n\n"):
        key = _field(block, "msgid")
        if key and not block.startswith("#~"):
            chinese = _field(block, "msgstr") or _field(block, "msgstr[0]")
            found[key] = _field(block, "msgid_plural"), chinese, "python-format" in block
    return found


def _block(key: str, plural: str, chinese: str, *, has_places: bool) -> str:
    lines = ["#, python-format"] if has_places else []
    lines.append(f'msgid "{key}"')
    lines += [f'msgid_plural "{plural}"', f'msgstr[0] "{chinese}"'] if plural else [f'msgstr "{chinese}"']
    return "\n".join(lines) + "\n"


def main() -> int:
    """Rewrite the catalogue; 1 where a text has no Chinese yet."""
    sys.path.insert(0, str(ROOT))
    import django
    from django.conf import settings
    from django.core.management import call_command

    from luhyaapi import process
    from luhyaapi.errors import CODES

    before = PO.read_text(encoding="utf-8")
    known = read(before)
    settings.configure(USE_I18N=True)
    django.setup()
    PO.unlink()
    try:
        call_command(
            "makemessages",
            locale=["zh_Hans"],
            no_location=True,
            no_wrap=True,
            ignore_patterns=["static/*"],
            verbosity=0,
        )
    finally:
        if not PO.exists():
            PO.write_text(before, encoding="utf-8")
    wanted = read(PO.read_text(encoding="utf-8"))
    for code in CODES.values():
        wanted.setdefault(code.hint.replace('"', '\\"'), ("", "", False))
    blocks = [_block(k, plural, known.get(k, ("", "", False))[1], has_places=p) for k, (plural, _, p) in wanted.items()]
    PO.write_text("\n".join([HEAD, *blocks]), encoding="utf-8")
    process.run(["msgfmt", "-o", str(PO.with_suffix(".mo")), str(PO)], timeout_s=60)
    missing = [k for k in wanted if not known.get(k, ("", "", False))[1]]
    for key in missing:
        print(f"no Chinese yet: {key}")  # noqa: T201 - the answer of this script
    return 1 if missing else 0


if __name__ == "__main__":
    import os

    os.chdir(HERE.parent)
    raise SystemExit(main())
