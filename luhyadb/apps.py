"""The Django application that owns every table."""

from django.apps import AppConfig


class LuhyadbConfig(AppConfig):
    """All tables of the CLC and the CCs."""

    name = "luhyadb"
    default_auto_field = "django.db.models.BigAutoField"
