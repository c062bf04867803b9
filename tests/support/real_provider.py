"""An OpenID provider of its own process: django-oauth-toolkit, as a school would run it. ``python -m tests.support.real_provider FOLDER PORT`` serves it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

CLIENT, SECRET = "educloud", "secret of the console"
RIVER = "quiet river 9041"
ROOT = Path(__file__).resolve().parents[2]
_READY_S = 30.0
_LOGIN = "<form method=post>{% csrf_token %}<input name=username><input name=password type=password></form>"


@dataclass
class Bed:
    """The provider, and a browser at it."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/o"

    def settings(self) -> dict[str, object]:
        return {"issuer": self.issuer, "client_id": CLIENT, "plain": True}

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.support.real_provider", str(self.home), str(self.port)], cwd=ROOT,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + _READY_S
        while True:
            try:
                httpx.get(f"{self.issuer}/.well-known/openid-configuration", timeout=5).raise_for_status()
            except httpx.HTTPError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(20)

    def rotate(self) -> None:
        """Another key, from the next start on; the older one is told no more."""
        self.stop()
        (self.home / "key.pem").unlink()
        self.start()

    def sign_in(self, url: str, name: str, password: str = RIVER, browser: httpx.Client | None = None) -> str:
        """Where the provider sends a browser that signs in there; empty where it does not let it in."""
        browser = browser or httpx.Client(timeout=10)
        answer = browser.get(url)
        for _ in range(5):
            if answer.status_code == 302:
                where = str(answer.next_request.url) if answer.next_request else ""
                if not where.startswith(f"http://127.0.0.1:{self.port}/"):
                    return where
                answer = browser.get(where)
            elif "name=username" in answer.text:
                token = browser.cookies["csrftoken"]
                answer = browser.post(str(answer.url), data={"username": name, "password": password, "csrfmiddlewaretoken": token})
            else:
                return ""
        return ""


@contextlib.contextmanager
def server(back: str, home: Path) -> Iterator[Bed]:
    """A provider where ann and bob have accounts, and the console that is at ``back``; gone at the end, its files too."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    (home / "back").write_text(back)
    bed = Bed(home, port)
    bed.start()
    try:
        yield bed
    finally:
        bed.stop()
        shutil.rmtree(home, ignore_errors=True)


def _key(file: Path) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    if not file.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        file.write_bytes(made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return file.read_text()


def _serve(home: Path, port: int) -> None:
    import django
    from django.conf import settings

    (home / "registration").mkdir(exist_ok=True)
    (home / "registration" / "login.html").write_text(_LOGIN)
    settings.configure(
        SECRET_KEY="of a test", PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF="tests.support.real_provider_urls", LOGIN_URL="/login/", USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
                    "django.contrib.auth.middleware.AuthenticationMiddleware"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(home / "db.sqlite")}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [str(home)], "APP_DIRS": True,
                    "OPTIONS": {"context_processors": ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth"]}}],
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True, "OIDC_RSA_PRIVATE_KEY": _key(home / "key.pem"), "PKCE_REQUIRED": True, "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
            "SCOPES": {"openid": "who it is", "profile": "names", "email": "mail"}, "ALLOWED_REDIRECT_URI_SCHEMES": ["http"],
            "OAUTH2_VALIDATOR_CLASS": "tests.support.real_provider_urls.Claims",
        },
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User
    from oauth2_provider.models import Application

    for name in ("ann", "bob"):
        if not User.objects.filter(username=name).exists():
            User.objects.create_user(name, f"{name}@school.test", RIVER, first_name=name.title())
    Application.objects.get_or_create(client_id=CLIENT, defaults={
        "name": "eduCloud", "client_type": "confidential", "authorization_grant_type": "authorization-code", "client_secret": SECRET,
        "redirect_uris": (home / "back").read_text(), "algorithm": "RS256", "skip_authorization": True,
    })
    call_command("runserver", f"127.0.0.1:{port}", use_reloader=False, skip_checks=True, verbosity=0)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
