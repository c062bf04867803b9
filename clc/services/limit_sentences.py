"""Sentences about ends of machines, budgets and reports."""

from __future__ import annotations

from django.utils.translation import gettext_noop as _

LIMITS = (
    _("The span cannot be read"),
    _("{}: give 90m, 12h, 7d, 4w or never"),
    _("The end is not possible"),
    _("{} is past, or too far away"),
    _("The end cannot be read"),
    _("{}: give 7d, 12h, 2030-01-31, a moment (RFC 3339) or never"),
    _("The rule is not possible"),
    _("what is usual is longer than what is possible"),
    _("there is no {}"),
    _("A machine may not be there for so long"),
    _("in {} at most {}; {} set it"),
    _("Ask whoever manages your group."),
    _("This instance has no end to be moved"),
    _("it is deleted, or being deleted"),
    _("it expired at {}"),
    _("Give it a later end first: on its page, or by educloud instance expire."),
    _("The budget of {} is used up"),
    _("{}: {} of {}, until {}; {} set it"),
    _("Ask who set it for more."),
    _("The budget is not possible"),
    _("give 0 hours or more"),
    _("Whose budget?"),
    _("The term is not possible"),
    _("its last day is before its first, or there is none"),
    _("The time is not possible"),
    _("it begins before it ends"),
    _("There is no report {}"),
    _("there are {}"),
    _("The report is too long"),
    _("it has more than {} lines"),
    _("Ask for a shorter time, or for one group."),
    _("{} to stop and {} to delete wait for a word, more than a tenth of all at once: look at the clock, then educloud expiry let-go"),
    _("expiry"),
)
