"""Samples of lines of the record."""

from __future__ import annotations

from typing import Any

from luhyaapi.contracts.vocabulary import Result, Via

_LINE: dict[str, Any] = {
    "id": 1, "number": 1, "at": "2027-01-15T08:00:00.000Z", "noun": "instance", "subject": "ins-3fa21c01", "what": "instance running", "result": Result.DONE,
    "actor": "", "actor_id": None, "owner": "student-07", "owner_id": 7, "via": Via.HOST, "origin": "nc-0c11b2d4", "token": "", "host": "nc-0c11b2d4",
    "task": "", "request": "", "digest": "0" * 64, "changes": [{"name": "state", "before": "starting", "after": "running"}], "url": "/x/", "more": {},
}
LINES = [
    _LINE | {"number": None, "via": Via.CLOUD, "origin": "", "owner": "", "owner_id": None, "what": "record exported", "changes": [], "url": ""},
    _LINE,
    _LINE | {"actor": "admin", "actor_id": 1, "via": Via.PAGE, "origin": "192.0.2.7", "what": "screen opened", "changes": [], "more": {"port": 22, "x": "<b>"}},
    _LINE | {"actor": "student-07", "actor_id": 7, "via": Via.API, "origin": "192.0.2.7", "what": "not permitted", "result": Result.REFUSED,
             "changes": [{"name": "rules", "before": None, "after": ["tcp:22"]}]},
]
LIST: dict[str, Any] = {
    "rows": LINES, "filters": {"via": "page"}, "query": "via=page", "is_all": False, "next_url": "?after=x", "previous_url": "",
    "chain": {"head": "3:" + "0" * 64, "unsealed": 1, "removed": 2},
}
EMPTY: dict[str, Any] = LIST | {"rows": [], "filters": {}, "query": "", "is_all": True, "next_url": ""}
NOTHING_FITS: dict[str, Any] = EMPTY | {"is_all": False}
HISTORY: dict[str, Any] = {"rows": LINES, "ident": "ins-3fa21c01", "next_url": "", "previous_url": ""}
