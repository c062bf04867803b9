"""Tables of how somebody signs in: ApiToken, BrowserSession, Guess, SecondStep, Passkey, SpentChallenge."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models

from luhyadb.models.base import Table, pk
from luhyadb.models.people import Account


class ApiToken(Table):
    """A bearer token of an account; only its hash is here. Writer: clc.services.tokens.

    ``renewed_until`` above 0: it was signed in for, and use renews it up to then.
    """

    id = pk()
    account = models.ForeignKey(Account, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=63)
    scope = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.FloatField()
    expires_at = models.FloatField(db_index=True)
    renewed_until = models.FloatField(default=0)
    used_at = models.FloatField(default=0)
    used_from = models.CharField(max_length=45, default="", blank=True)

    class Meta:
        ordering = ["-created_at", "id"]


class BrowserSession(AbstractBaseSession):
    """A browser that is, or is about to be, signed in. Writer: clc.services.sessions.

    ``ident`` names it once it is signed in; the key is the browser's secret.
    """

    home = "clc"
    ident = models.CharField(max_length=20, unique=True, null=True)  # noqa: DJ001 - unique where set
    account = models.ForeignKey(Account, models.CASCADE, null=True, related_name="sessions")
    created_at = models.FloatField(default=0)
    used_at = models.FloatField(default=0)
    address = models.CharField(max_length=45, default="", blank=True)
    agent = models.CharField(max_length=200, default="", blank=True)

    @classmethod
    def get_session_store_class(cls) -> Any:
        """Where Django keeps and finds it."""
        from django.conf import settings
        from django.utils.module_loading import import_string

        return import_string(f"{settings.SESSION_ENGINE}.SessionStore")

    class Meta(AbstractBaseSession.Meta):
        abstract = False


class Guess(Table):
    """How many wrong attempts there were for a name from an address, for a name (no address), from an address (no name). Writer: clc.services.lock_out.

    ``name`` is a digest, since people type passwords there. ``good_at``: when the last attempt succeeded.
    """

    name = models.CharField(max_length=64, default="", blank=True)
    address = models.CharField(max_length=45, default="", blank=True)
    count = models.FloatField(default=0)
    at = models.FloatField(default=0, db_index=True)
    until = models.FloatField(default=0)
    good_at = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "address"], name="one_count_per_guesser")]


class SecondStep(Table):
    """The authenticator app of an account: its sealed secret, and hashes of recovery codes. Writer: clc.services.second_step.

    ``confirmed_at`` 0: it is being enrolled and asks nobody for anything; ``last_used`` is the newest time step a code was taken for.
    """

    account = models.OneToOneField(Account, models.CASCADE, primary_key=True, related_name="second_step")
    secret = models.CharField(max_length=300)
    confirmed_at = models.FloatField(default=0)
    last_used = models.BigIntegerField(default=0)
    recovery = models.JSONField(default=list)


class Passkey(Table):
    """A key pair of an account on some device; the public half is here. Writer: clc.services.passkeys.

    ``digest`` is of the credential's id, by which a device names it; ``count``: how often it signed, as it says itself; 0: it does not count.
    """

    id = pk()
    account = models.ForeignKey(Account, models.CASCADE, related_name="passkeys")
    name = models.CharField(max_length=63)
    digest = models.CharField(max_length=64, unique=True)
    credential = models.TextField()
    count = models.PositiveBigIntegerField(default=0)
    created_at = models.FloatField()
    used_at = models.FloatField(default=0)

    class Meta:
        ordering = ["created_at", "id"]


class SpentChallenge(Table):
    """A challenge that was answered, until it would have ended anyway: nobody answers it twice. Writer: clc.services.passkeys."""

    digest = models.CharField(max_length=64, primary_key=True)
    until = models.FloatField(db_index=True)
