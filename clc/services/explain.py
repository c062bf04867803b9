"""Who can see this, what can somebody do, why can I not: the rule, told."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet

from clc.services import images, instances, people
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, Image, Instance, Task

_KINDS = {Kind.IMAGE: images.resolve, Kind.INSTANCE: instances.resolve}


def subject(account: Account, kind: str, text: str) -> Image | Instance:
    """The resource of that kind, by id or name, that ``account`` sees. Raises Refused(invalid | not_found | conflict)."""
    find = _KINDS.get(Kind(kind)) if kind in list(Kind) else None
    if find is None:
        raise Refused("invalid", "A kind is not possible", f"it is one of {', '.join(_KINDS)}, not {kind[:20]!r}", field="kind")
    return find(account, text)


def verb_of(text: str) -> Verb:
    """Raises Refused(invalid)."""
    if text not in list(Verb):
        raise Refused("invalid", "A verb is not possible", f"it is one of {', '.join(Verb)}, not {text[:20]!r}", field="verb")
    return Verb(text)


def about(account: Account, username: str) -> Account:
    """Oneself, or somebody whose people one manages. Raises Refused(not_found | forbidden)."""
    return account if username in ("", account.username, people.MYSELF) else people.find(account, username)


def why(asker: Account, whom: Account, row: Image | Instance, verb: Verb) -> tuple[list[scope.Reason], str]:
    """Every reason for which somebody may do that, and in words to ``asker`` why not if there is none."""
    found = scope.reasons(whom, row, verb)
    return found, "" if found else scope.why_not(whom, row, verb, of_another=whom.pk != asker.pk)


def who(account: Account, row: Image | Instance, verb: Verb) -> QuerySet[Account]:
    """All who may do that with a resource. Whoever may change it may ask. Raises Refused(forbidden)."""
    scope.one(account, type(row), Verb.WRITE, pk=row.pk)
    return scope.who(row, verb)


def seers(noun: str, subject: str, accounts: Sequence[int]) -> frozenset[int]:
    """Which of some accounts, by their numbers, may see an image, an instance or the task of one, by its id: none of anything else. Two queries."""
    row: Instance | Image | None = None
    if accounts and noun == "image":
        row = Image.objects.filter(pk=subject, retired=False).first()
    elif accounts and noun in ("instance", "task"):
        by = {"pk": subject} if noun == "instance" else {"pk__in": Task.objects.filter(pk=subject).values("subject")}
        row = Instance.objects.filter(**by).first()
    return frozenset(scope.who(row, Verb.READ).filter(pk__in=accounts).values_list("pk", flat=True)) if row else frozenset()
