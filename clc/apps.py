"""The Django application of the console."""

from django.apps import AppConfig


class ClcConfig(AppConfig):
    """Console, portal and API."""

    name = "clc"
