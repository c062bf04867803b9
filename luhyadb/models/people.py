"""Tables: Account, Departure, IdempotencyKey."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models

from luhyadb.models.base import Table
from luhyadb.models.groups import EVERYBODY, Group
from luhyadb.models.rights import AccessRole


class Account(AbstractUser):
    """Somebody who may sign in and has an access role over all that belongs to their ``group``; ``is_staff`` marks who may do everything.

    Writer: clc.services.people.
    """

    home = "clc"
    group = models.ForeignKey(Group, models.PROTECT, default=EVERYBODY)
    access_role = models.ForeignKey(AccessRole, models.PROTECT, default="user")
    language = models.CharField(max_length=10, default="", blank=True)
    display_name = models.CharField(max_length=100, default="", blank=True, help_text="what people call them")
    is_service = models.BooleanField(default=False, help_text="a program's: it has no password, and tokens that others make for it")
    must_change_password = models.BooleanField(default=False, help_text="somebody else chose it: it is good for choosing another one only")

    @property
    def is_admin(self) -> bool:
        """Whether everything may be seen and changed."""
        return bool(self.is_staff)


class Departure(Table):
    """An account that is deleted with everything it owns, as soon as the last of it is gone; until then nobody signs in to it.

    ``was_active``: what it is again when that is cancelled; ``trouble``: what the next thing waits for. Writer: clc.services.departures.
    """

    account = models.OneToOneField(Account, models.CASCADE, primary_key=True, related_name="departure")
    by = models.ForeignKey(Account, models.PROTECT, related_name="+")
    was_active = models.BooleanField()
    asked_at = models.FloatField()
    trouble = models.JSONField(null=True, default=None)

    class Meta:
        ordering = ["asked_at"]


class IdempotencyKey(Table):
    """One POST already answered. Writer: clc.web.api.once."""

    account = models.ForeignKey(Account, models.CASCADE)
    key = models.CharField(max_length=200)
    request = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    answer = models.TextField(default="")
    location = models.CharField(max_length=200, default="")
    at = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "key"], name="one_answer_per_key")]
