"""Sentences about people: deleting an account, its profile, asking for one."""

from __future__ import annotations

from django.utils.translation import gettext_noop as _

PEOPLE = (
    _("{} still owns something"),
    _("Give it to somebody (--give-to), delete it too (--with-everything), or delete each first."),
    _("{} is being deleted with everything"),
    _("Wait for it, cancel it, or give what is left to somebody."),
    _("Cancel that first."),
    _("{} is not being deleted"),
    _("Others use images of {}"),
    _("Give everything to somebody else, or have those machines deleted first."),
    _("What shall become of what they own?"),
    _("give it to somebody, or delete everything"),
    _("Nobody inherits from themselves"),
    _("{} cannot be given anything"),
    _("the account is deactivated or about to be deleted"),
    _("{} would have too many public addresses"),
    _("{} would have too many security groups"),
)
