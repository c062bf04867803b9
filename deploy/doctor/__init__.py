"""The examination of this machine, before a cloud is here and after: ``checks()``, and ``python3 -m deploy.doctor``."""

from __future__ import annotations


def checks() -> list[dict[str, str]]:
    """Every finding as a form of name, health (ok, warn, fail), what, why, next."""
    import os

    from deploy.doctor.examination import examine  # not above: an old Python must get as far as being told so

    return [f.form() for f in examine(os.environ)]
