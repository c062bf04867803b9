"""Sample contexts of the pages about signing in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clc.services.second_step import Enrolment


def sign_ins(stamp: Callable[[float], str]) -> dict[str, Any]:
    """Two browsers and three tokens."""
    return {
        "sessions": [
            {"id": f"ses-0000000{n}", "current": n == 0, "created_at": stamp(7200), "used_at": stamp(30), "address": f"10.42.0.{n}",
             "agent": "Mozilla" if n else "", "browser": "Firefox, Linux" if n else ""}
            for n in range(2)
        ],
        "tokens": [
            {"id": f"tok-0000000{n}", "name": f"nightly-{n}", "scope": scope, "signed_in": n == 2, "expires_at": stamp(-86400),
             "used_at": stamp(60) if n else None, "used_from": "10.42.0.9" if n else ""}
            for n, scope in enumerate(("read", "all", "all"))
        ],
    }


def pages(stamp: Callable[[float], str], form: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Page name -> template, menu entry, context."""
    step = {"on": True, "recovery_codes_left": 9}
    return {
        "login-code": ("login_code.html", "", {"form": form, "passkey_origin": "https://cloud.test"}),
        "account": ("account/detail.html", "", {**sign_ins(stamp), "second_step": step, "form": form, "codes": ["aaaa-bbbb-cccc-dddd"],
                                                   "passkey_origin": "https://cloud.test", "passkeys": [
                                                       {"id": "pky-00000001", "name": "phone", "created_at": stamp(900), "used_at": stamp(60)},
                                                       {"id": "pky-00000002", "name": "key", "created_at": stamp(900), "used_at": None}]}),
        "account-bare": (
            "account/detail.html", "",
            {"sessions": [], "tokens": [], "second_step": {"on": False, "recovery_codes_left": 0}, "form": form, "made": {"name": "nightly", "token": "eat.x"}},
        ),
        "account-password": ("account/password.html", "", {"form": form, "length": 10}),
        "account-second-step": ("account/second_step.html", "", {"form": form, "enrolment": Enrolment("ABCD", "otpauth://totp/eduCloud:ada?secret=ABCD")}),
    }
