"""What every table has: a home, and enumerations stored as their word."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import models

from luhyaapi.contracts.vocabulary import Word


class Table(models.Model):
    """A table. ``home`` says whose database it lives in; each class names its one writer in its docstring."""

    home = "clc"

    class Meta:
        abstract = True


def word(words: Iterable[Word], **kw: object) -> models.CharField:
    """A column that holds one word of an enumeration."""
    return models.CharField(max_length=16, choices=[(str(w), w.en) for w in words], **kw)


def pk() -> models.CharField:
    """A typed id as the primary key."""
    return models.CharField(max_length=20, primary_key=True)
