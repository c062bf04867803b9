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
    _("The display name is not possible"),
    _("it holds signs that are not shown, or that change how others are"),
    _("The e-mail address is not possible"),
    _("give one like ada@school.example"),
    _("The language is not possible"),
    _("No account can be asked for there"),
    _("that group takes no requests"),
    _("Too many accounts are asked for from here"),
    _("at most {} an hour, and {} that wait"),
    _("Try again later."),
    _("Too many requests for accounts wait"),
    _("There is no request with this code"),
    _("the code is wrong, or the request is too old"),
    _("A reason is needed"),
    _("the applicant is told it"),
    _("This request was decided already"),
    _("The text is not possible"),
    _("at most {} signs, none of them unseen"),
    _("Give another user name."),
)
