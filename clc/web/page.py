"""Page: one address of the console; the registry makes the routes and the menu."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.functional import SimpleLazyObject
from django.utils.http import url_has_allowed_host_and_scheme

from clc.services import refusals
from clc.services.sentences import said
from clc.web.audience import newest
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import CODES, Refused, Trouble
from luhyadb import scope

View = Callable[..., HttpResponse]


@dataclass(frozen=True)
class Page:
    """One address. ``slug`` is its URL name; ``rank`` above 0 puts it into the menu; ``under`` names its menu entry.

    ``needs``: a kind, and verbs of which whoever may do one with it somewhere sees the page; for others it is not there.

    ``back`` names the page whose form or button posts here; a page that one can also look at is its own. ``fields`` says
    which field of that form stands for a value of the services; empty: none does, what is wrong with it is told at the head of the page.
    ``badge``: how much waits there for whoever asks. ``new_password``: it is the page for who must change the password first.
    """

    slug: str
    url: str
    view: View
    title: Any = ""
    icon: str = ""
    admin_only: bool = False
    needs: tuple[Kind, *tuple[Verb, ...]] | None = None
    is_open: bool = False
    new_password: bool = False
    rank: int = 0
    under: str = ""
    methods: tuple[str, ...] = ("GET", "HEAD")
    back: str = ""
    badge: Callable[[HttpRequest], int] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def is_for(self, request: HttpRequest) -> bool:
        """Whether whoever asks may see this page at all; what it shows of which row the services say."""
        if self.admin_only:
            return bool(request.user.is_admin)
        return not self.needs or any(may_somewhere(request, self.needs[0], verb) for verb in self.needs[1:])

    def home(self, request: HttpRequest, at: Mapping[str, Any]) -> str:
        """The address to look at, for whoever is here by a POST."""
        if request.method != "POST":
            return request.get_full_path()
        if not self.back:
            return request.path if "GET" in self.methods else ""
        return str(reverse(self.back, kwargs={"ident": at["ident"]} if "<str:ident>" in PAGES[self.back].url else {}))


PAGES: dict[str, Page] = {}
_LEFT = "refused"
_LONGEST = 20_000


def page(url: str, slug: str, **facts: Any) -> Callable[[View], View]:
    """Register a view ``(request, **of the url) -> HttpResponse`` as a page; it may raise any error with a code."""

    def register(view: View) -> View:
        PAGES[slug] = Page(slug, url, view, **facts)
        return view

    return register


def routes() -> list[URLPattern]:
    """The routes of all registered pages."""
    return [path(one.url, _guarded(one), name=one.slug) for one in PAGES.values()]


def _guarded(one: Page) -> View:
    @functools.wraps(one.view)
    def view(request: HttpRequest, **at: Any) -> HttpResponse:
        if request.method not in one.methods:
            return HttpResponseNotAllowed(one.methods)
        if not one.is_open and not request.user.is_authenticated:
            return _to_login(request)
        if not one.is_open and request.user.must_change_password and not one.new_password:
            return _to_new_password(request)
        try:
            if not one.is_for(request):
                refusals.forbidden(request.path, Refused("forbidden", "Only an administrator may do this" if one.admin_only else
                                                         "Only who manages people may do this"))
                raise Refused("not_found", "There is no such page")
            request.here = one.home(request, at)
            if request.method == "GET" and not is_fragment(request):
                request.heard = newest()  # before the view looks: the page asks for whatever comes after
            answer = one.view(request, **at)
        except Trouble as error:
            if error.family == "bug":
                raise
            if error.code == "forbidden":
                refusals.forbidden(request.path, error)
            answer = _sent_back(request, one, at, error) or refusal(request, error)
        answer.headers.setdefault("Cache-Control", "private, no-cache")
        return answer

    return view


def _sent_back(request: HttpRequest, one: Page, at: Mapping[str, Any], error: Trouble) -> HttpResponse | None:
    """A refused form goes back to its page, which tells why and shows what was typed; None where there is no such page to see."""
    is_gone = error.code == "not_found" and "ident" in at and not error.params.get("field")
    if request.method != "POST" or one.is_open or is_gone or is_fragment(request) or not getattr(request, "here", ""):
        return None
    form = Form.of(request)
    form.error = form.blame(error, **one.fields)
    # What a machine is handed may hold secrets, which no session keeps; and a part of it, or of a file, would be something else.
    left = {name: value for name, value in form.values.items() if name != "user_data" and (name != "ethers" or len(value) <= _LONGEST)}
    form.values = {name: value[:_LONGEST] for name, value in left.items()}
    request.session[_LEFT] = {"path": unquote(request.here), **asdict(form)}
    return HttpResponseRedirect(request.here)


def _left(request: HttpRequest) -> Form:
    """What a refused POST left for this page, once; live refreshes of its parts leave it there."""
    left = None if is_fragment(request) else request.session.get(_LEFT)
    if not left or left["path"] != request.path:
        return Form({}, {})
    del request.session[_LEFT]
    return Form(left["values"], left["errors"], left["error"])


def form_of(request: HttpRequest) -> Form:
    """The form of a page as it was when it was refused; empty for a new one."""
    if not hasattr(request, "form"):
        request.form = _left(request)
    found: Form = request.form
    return found


def may_somewhere(request: HttpRequest, kind: Kind, verb: Verb) -> bool:
    """Whether whoever asks may do that with a kind in some group; asked of the database once."""
    if not hasattr(request, "able"):
        request.able = scope.able(request.user)
    return not request.able.get(kind, frozenset()).isdisjoint(scope.enough(verb))


def _able(request: HttpRequest) -> dict[str, dict[str, bool]]:
    return {str(kind): {str(verb): may_somewhere(request, kind, verb) for verb in Verb} for kind in Kind}


@contextmanager
def at_field(name: str) -> Iterator[None]:
    """What is refused inside is told at this field of the form."""
    try:
        yield
    except Refused as e:
        raise Refused(e.code, e.what, e.why, hint=e.hint, field=name) from e


def is_fragment(request: HttpRequest) -> bool:
    """Whether a script asks, for a part of a page."""
    return "HX-Request" in request.headers or "X-Live" in request.headers


def _to_login(request: HttpRequest) -> HttpResponse:
    if is_fragment(request):
        return HttpResponse(status=401)
    target = request.get_full_path()
    asked = f"?{urlencode({'next': target})}" if request.method == "GET" and target != "/" else ""
    return HttpResponseRedirect(reverse("login") + asked)


def _to_new_password(request: HttpRequest) -> HttpResponse:
    if is_fragment(request):
        return refusal(request, Refused("password_change", "The password has to be changed first"))
    return HttpResponseRedirect(reverse("account_password"))


def show(request: HttpRequest, template: str, status: int = 200, /, **context: Any) -> HttpResponse:
    """A rendered page or part of one, with what every page needs."""
    me = request.user if request.user.is_authenticated else None
    form = form_of(request) if me else Form({}, {})
    menu = _menu(request) if me and not me.must_change_password else []
    frame = {"me": me, "menu": menu, "request_id": getattr(request, "request_id", ""), "form": form, "refused": form.error,
             "heard": getattr(request, "heard", None), "able": SimpleLazyObject(lambda: _able(request)) if me else {}}
    return render(request, f"clc/{template}", frame | context, status=status)


def simulation(_request: HttpRequest) -> dict[str, bool]:
    """For every template: whether the page must say that no machine really runs."""
    return {"simulation": settings.EDUCLOUD.console.simulation}


def here(request: HttpRequest) -> dict[str, str]:
    """For every template: the address of the page to look at, which is not always that of a POST."""
    seen = request.get_full_path() if request.method in ("GET", "HEAD") else "/"
    return {"here": getattr(request, "here", "") or seen}


def _menu(request: HttpRequest) -> list[dict[str, Any]]:
    here = PAGES.get(getattr(request.resolver_match, "url_name", "") or "")
    active = (here.under or here.slug) if here else ""
    shown = sorted((p for p in PAGES.values() if p.rank and p.is_for(request)), key=lambda p: p.rank)
    return [{"url": reverse(p.slug), "title": p.title, "icon": p.icon, "active": p.slug == active, "badge": p.badge(request) if p.badge else 0} for p in shown]


def refusal(request: HttpRequest, error: Trouble) -> HttpResponse:
    """An error as its page; to a script as a problem document."""
    code = CODES[error.code]
    if is_fragment(request):
        form = {**{k: said(v) for k, v in error.wire().items()}, "title": code.title, "status": code.http}
        return JsonResponse(form, status=code.http, content_type="application/problem+json")
    return show(request, "error.html", code.http, error=error.wire(), status=code.http)


def toast(request: HttpRequest, title: str, text: str = "", url: str = "", kind: str = "success") -> HttpResponse:
    """A short note, put into the open page."""
    return show(request, "_toast.html", toast={"kind": kind, "title": title, "text": text, "url": url})


def go(request: HttpRequest, url: str) -> HttpResponse:
    """Send the browser on: to ``next`` of the form when it is one of our addresses, else to ``url``."""
    asked = request.POST.get("next", "")
    target = asked if url_has_allowed_host_and_scheme(asked, {request.get_host()}) else url
    if "HX-Request" in request.headers:
        return HttpResponse(status=204, headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)


@dataclass
class Form:
    """What somebody typed and what is wrong with it, by field."""

    values: dict[str, str]
    errors: dict[str, str]
    error: dict[str, str] | None = None
    """What is wrong with it as a whole."""

    @classmethod
    def of(cls, request: HttpRequest) -> Form:
        """The form as it was sent, without its passwords and codes."""
        return cls({k: str(v) for k, v in request.POST.items() if "password" not in k and k != "code"}, {})

    def blame(self, error: Trouble, **renamed: str) -> dict[str, str] | None:
        """Put an error at its field; where it has none in this form it is returned for the head of the page."""
        name = str(error.params.get("field") or "")
        name = renamed.get(name, name)
        if name not in self.values and "password" not in name and name != "code":
            return error.wire()
        self.errors[name] = said(f"{error.what}: {error.why}" if error.why else error.what)
        return None
