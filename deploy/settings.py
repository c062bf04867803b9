"""The one Django settings module, computed from luhyaapi.conf."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luhyaapi import conf
from luhyaapi.contracts.vocabulary import Role

EDUCLOUD = conf.load()
EDUCLOUD_ROLE = "cc" if EDUCLOUD.host.role is Role.CC else "clc"
BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = False
_secret = EDUCLOUD.console.secret_file
SECRET_KEY = conf.read_secret(_secret) if _secret else "only-for-tools-that-serve-nothing"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = EDUCLOUD.console.language
LANGUAGES = [("en", "English"), ("zh-hans", "中文")]
LOCALE_PATHS = [str(BASE_DIR / "clc" / "locale")]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "luhyadb.Account"
_public = urlsplit(EDUCLOUD.console.public_url)
ALLOWED_HOSTS = [EDUCLOUD.host.address, EDUCLOUD.host.listen, "localhost", "127.0.0.1", "[::1]", os.uname().nodename, *EDUCLOUD.console.origins]
ALLOWED_HOSTS += [_public.hostname] if _public.hostname else []
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"] if _public.hostname else []
ROOT_URLCONF = "deploy.urls"
ASGI_APPLICATION = "deploy.asgi.application"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
    "django.contrib.staticfiles", "django_htmx", "rest_framework", "drf_spectacular", "drf_spectacular_sidecar",
    "luhyadb", "clc",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "clc.web.guard.Guard",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "clc.web.guard.Problems",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "DIRS": [],
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages", "django.template.context_processors.i18n",
        "clc.web.page.simulation", "clc.web.page.here",
    ]},
}]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher", "clc.services.one_time.OneTimeHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": EDUCLOUD.accounts.password_length}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
SESSION_ENGINE = "clc.services.sessions"
SESSION_COOKIE_AGE = int(EDUCLOUD.accounts.session_s)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = EDUCLOUD.host.tls
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = f"educloud_{EDUCLOUD.console.port}"
CSRF_COOKIE_NAME = f"educloud_csrf_{EDUCLOUD.console.port}"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
STATIC_URL = "/static/"
STATIC_ROOT = str(EDUCLOUD.host.state / "static")
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "clc.web.rest.BearerToken", "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["clc.web.rest.Json"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "clc.web.rest.problem",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "eduCloud", "VERSION": "1", "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR", "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
DATABASE_ROUTERS = ["luhyadb.memory.Router"]
LOGGING_CONFIG = None


def _sqlite(path: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA cache_size=-20000;",
        },
    }


def _database() -> dict[str, Any]:
    url = EDUCLOUD.database.url
    if not url:
        return _sqlite(str(EDUCLOUD.host.state / "database.sqlite"))
    at = urlsplit(url)
    secret = EDUCLOUD.database.password_file
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": at.path.lstrip("/"),
        "USER": at.username or "",
        "PASSWORD": conf.read_secret(secret) if secret else "",
        "HOST": at.hostname or "localhost",
        "PORT": str(at.port or 3306),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "charset": "utf8mb4",
            "isolation_level": "read committed",
            "init_command": "SET sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        },
    }


DATABASES: dict[str, Any] = {"default": _database()}
if _folder := conf.given("ONE_PROCESS"):
    DATABASES = {"default": _sqlite(f"{_folder}/clc.sqlite"), "cc": _sqlite(f"{_folder}/cc.sqlite")}
