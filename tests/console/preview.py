"""Writes every page with sample data into a folder, and photographs the ones asked for: python tests/console/preview.py OUT [page:theme:language:width ...]."""

from __future__ import annotations

import functools
import http.server
import os
import sys
import threading
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def configure() -> None:
    """Settings of their own, so that the pages can be seen without a cloud."""
    sys.path[:0] = [str(ROOT), str(HERE)]
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.staticfiles", "luhyadb", "clc"],
            AUTH_USER_MODEL="luhyadb.Account",
            ROOT_URLCONF="console_samples",
            TEMPLATES=[
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "APP_DIRS": True,
                    "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
                }
            ],
            STATIC_URL="/static/",
            LANGUAGES=[("en", "English"), ("zh-hans", "简体中文")],
            USE_I18N=True,
            USE_TZ=True,
            SECRET_KEY="preview",
            ALLOWED_HOSTS=["*"],
        )
        django.setup()


def write(out: Path) -> None:
    import console_samples
    import right_samples
    from django.template.loader import render_to_string
    from django.test import RequestFactory
    from django.utils import translation

    for language in ("en", "zh-hans"):
        folder = out / language
        folder.mkdir(parents=True, exist_ok=True)
        with translation.override(language):
            for name, (template, entry, context) in console_samples.pages().items():
                request = RequestFactory().get("/")
                shown: dict[str, Any] = {
                    "me": console_samples.ME,
                    "menu": console_samples.menu(entry, language),
                    "able": right_samples.able(admin=True),
                    **context,
                }
                (folder / f"{name}.html").write_text(render_to_string(f"clc/{template}", shown, request))
    (out / "static").unlink(missing_ok=True)
    (out / "static").symlink_to(ROOT / "clc" / "static")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing: the pictures are the output."""

    def do_GET(self) -> None:
        if self.path != "/api/v1/events":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        threading.Event().wait(60)

    def end_headers(self) -> None:
        csp = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'"
        )
        self.send_header("Content-Security-Policy", csp)
        super().end_headers()


def shoot(out: Path, wanted: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(out)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        for item in wanted:
            name, theme, language, width = (item.split(":") + ["light", "en", "1360"][item.count(":") :])[:4]
            page = browser.new_page(viewport={"width": int(width), "height": 900 if int(width) > 600 else 844})
            page.on(
                "console",
                lambda m, n=name: print(f"{n}: {m.type} {m.text}") if m.type in {"error", "warning"} else None,
            )
            page.on("pageerror", lambda e, n=name: print(f"{n}: {e}"))
            page.on(
                "request",
                lambda r, n=name: None if r.url.startswith((base, "data:")) else print(f"{n}: outside {r.url}"),
            )
            page.add_init_script(f"localStorage.setItem('educloud-theme', '{theme}')")
            page.goto(f"{base}/{language}/{name}.html", wait_until="load")
            page.wait_for_timeout(350)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if wide > 0:
                print(f"{item}: {wide} px too wide")
            page.screenshot(
                path=str(out / f"{name}-{theme}-{language}-{width}.png"), full_page=os.environ.get("FULL", "") == "1"
            )
            page.close()
        browser.close()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    configure()
    target = Path(sys.argv[1])
    write(target)
    shoot(target, sys.argv[2:])
