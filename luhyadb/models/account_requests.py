"""Table: AccountRequest."""

from __future__ import annotations

from django.db import models

from luhyaapi.contracts.vocabulary import RequestState
from luhyadb.models.base import Table, pk, word
from luhyadb.models.groups import Group
from luhyadb.models.people import Account


class AccountRequest(Table):
    """Somebody without an account asks for one in a group. Writer: clc.services.account_requests.

    ``password`` is the hash of the one they chose, gone as soon as it is decided; ``proof`` the digest of the code they look at it with;
    ``place``: from where it was asked.
    """

    id = pk()
    state = word(RequestState, default=RequestState.WAITING)
    username = models.CharField(max_length=63)
    display_name = models.CharField(max_length=100, default="", blank=True)
    email = models.CharField(max_length=254, default="", blank=True)
    reason = models.CharField(max_length=500, default="", blank=True)
    group = models.ForeignKey(Group, models.CASCADE)
    password = models.CharField(max_length=200, default="", blank=True)
    proof = models.CharField(max_length=64, unique=True)
    place = models.CharField(max_length=45)
    created_at = models.FloatField(db_index=True)
    decided_at = models.FloatField(default=0)
    decided_by = models.CharField(max_length=150, default="", blank=True)
    why = models.CharField(max_length=500, default="", blank=True)
    account = models.ForeignKey(Account, models.SET_NULL, null=True, default=None, related_name="+")

    class Meta:
        ordering = ["-created_at", "id"]
