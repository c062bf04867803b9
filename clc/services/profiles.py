"""What somebody may say of themselves: how a display name, an e-mail address and a language look. Pure."""

from __future__ import annotations

import unicodedata

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from luhyaapi.errors import Refused

NAME_AT_MOST, EMAIL_AT_MOST = 100, 254
_MARKS_AT_MOST = 2
"""Marks on one letter: languages need two; more of them run over the lines beside."""


def display_name(text: str) -> str:
    """A name as it is shown; empty: none. Raises Refused(invalid) for signs nobody sees or that turn the text around, and for a long one."""
    name = unicodedata.normalize("NFC", " ".join(text.split(" "))).strip()
    if not name.isprintable() or _stacks(name):
        raise Refused("invalid", "The display name is not possible", "it holds signs that are not shown, or that change how others are", field="display_name")
    if len(name) > NAME_AT_MOST:
        raise Refused("invalid", "The display name is not possible", f"it has {len(name)} signs; {NAME_AT_MOST} are possible", field="display_name")
    return name


def _stacks(name: str) -> bool:
    run = 0
    for sign in name:
        run = run + 1 if unicodedata.category(sign) in ("Mn", "Me") else 0
        if run > _MARKS_AT_MOST:
            return True
    return False


def email(text: str) -> str:
    """An e-mail address; empty: none. Raises Refused(invalid)."""
    address = text.strip()
    if not address:
        return ""
    try:
        if not (address.isascii() and address.isprintable() and len(address) <= EMAIL_AT_MOST):
            raise ValidationError("")
        validate_email(address)
    except ValidationError as e:
        raise Refused("invalid", "The e-mail address is not possible", "give one like ada@school.example", field="email") from e
    return address


def language(code: str) -> str:
    """A language of the console; empty: the one of the browser. Raises Refused(invalid)."""
    if code and code not in dict(settings.LANGUAGES):
        raise Refused("invalid", "The language is not possible", f"it is one of {', '.join(dict(settings.LANGUAGES))}", field="language")
    return code
