"""Which accounts came from a directory, and what of them is therefore not said here."""

from __future__ import annotations

from luhyaapi.errors import Refused
from luhyadb.models import Account, DirectoryAccount


def link_of(account: Account) -> DirectoryAccount | None:
    """Which directory an account came from; None for one of this cloud."""
    return DirectoryAccount.objects.select_related("directory").filter(account=account).first()


def require_own_password(account: Account) -> None:
    """Whether an account has a password here. Raises Refused(state) for one of a directory."""
    if link := link_of(account):
        raise Refused("state", f"The password of {account.username} is not kept here", f"the account came from the directory {link.directory.name}",
                      hint="Change it there.")


def require_own_place(account: Account) -> None:
    """Whether group and role of an account are said here. Raises Refused(state) for one of a directory."""
    if link := link_of(account):
        raise Refused("state", f"The directory {link.directory.name} says where {account.username} belongs", "each sign-in brings it up to date",
                      hint="Change it there or in the mappings of the directory; give a role beside it by `educloud access-role give`.")


def decided(account: Account) -> None:
    """Somebody here said whether an account is active: no sign-in undoes that."""
    DirectoryAccount.objects.filter(account=account).update(gone_at=0)


def require_own_profile(account: Account) -> None:
    """Whether the name and the address of an account are said here. Raises Refused(state) for one of a directory."""
    if link := link_of(account):
        raise Refused("state", f"The directory {link.directory.name} says what {account.username} is called", "each sign-in brings it up to date",
                      hint="Change it there.")
