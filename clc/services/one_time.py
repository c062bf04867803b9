"""Passwords that are made up, told once and good for choosing another one."""

from __future__ import annotations

import base64

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from luhyaapi import ids

_SIGNS = "abcdefghjkmnpqrstuvwxyz"
"""No sign of these is taken for another one when it is read from paper."""
_GROUPS, _EACH = 4, 4


class OneTimeHasher(PBKDF2PasswordHasher):
    """For these alone: with 72 bits by chance nobody guesses one, however quick a guess is, and thousands are kept within seconds.

    Django's own way keeps a password by the first hasher of the settings as soon as somebody signs in with it.
    """

    algorithm = "one_time_sha256"
    iterations = 1000


def made() -> str:
    """A new one: four groups of four letters, 72 bits."""
    number = int.from_bytes(base64.urlsafe_b64decode(ids.secret()))
    letters = ""
    for _ in range(_GROUPS * _EACH):
        number, sign = divmod(number, len(_SIGNS))
        letters += _SIGNS[sign]
    return "-".join(letters[at : at + _EACH] for at in range(0, len(letters), _EACH))
