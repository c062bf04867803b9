"""What happened, as JSON lines in order: all that the checker may read, and what makes two runs comparable."""

from __future__ import annotations

import hashlib
import json
from typing import Any

Record = dict[str, Any]


class History:
    """Records have ``n`` (their number), ``t`` (simulated seconds), ``who``, ``what`` and fields of their own."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.now = 0.0

    def tell(self, who: str, what: str, **fields: Any) -> Record:
        """Append one record."""
        record = {"n": len(self.records), "t": round(self.now, 3), "who": who, "what": what, **fields}
        self.records.append(record)
        return record

    def lines(self) -> list[str]:
        """The records as text."""
        return [json.dumps(r, sort_keys=True, default=str) for r in self.records]

    def digest(self) -> str:
        """sha256 of all lines."""
        found = hashlib.sha256()
        for line in self.lines():
            found.update(line.encode() + b"\n")
        return found.hexdigest()
