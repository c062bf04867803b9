"""Table of dead letters: messages that their receiver could not take, kept with their story."""

from __future__ import annotations

from django.db import models

from luhyadb.models.base import Table, pk


class Letter(Table):
    """A dead letter. ``text`` is the signed message itself, at the boss it died at. Writer: luhyadb.letters."""

    home = "both"
    id = pk()
    host = models.CharField(max_length=20)
    created_at = models.FloatField(db_index=True)
    queue = models.CharField(max_length=80)
    reason = models.CharField(max_length=200)
    times = models.PositiveIntegerField(default=1)
    kind = models.CharField(max_length=40, default="")
    task = models.CharField(max_length=20, default="")
    sender = models.CharField(max_length=20, default="")
    to = models.CharField(max_length=20, default="")
    about = models.CharField(max_length=100, default="")
    text = models.TextField(default="")
    sent_again_at = models.FloatField(default=0)
    wanted_again = models.BooleanField(default=False)

    class Meta:
        ordering = ["-created_at", "id"]
