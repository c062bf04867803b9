"""What a request may say of an image beside its files."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from clc.services.image_properties import CHOICES, NAMES
from clc.web.rest import Form, Text

_HARDWARE = {
    "disk_bus": "How a guest reaches its disks.", "vif_model": "Its network card.", "video_model": "Its graphics card.",
    "pointer_model": "What moves its pointer.", "machine_type": "Its main board.", "firmware_type": "What starts it.",
    "clock": "What its clock shows: utc, or as Windows expects localtime.",
}

NEW_VERSION = "It becomes the next version of the image of that name; without it the name must be free."
USAGE = "desktop or server; a new image is for server when left out, a new version keeps what its image has."


def _one(about: str, at_most: int = 40) -> serializers.CharField:
    return Text(max_length=at_most, required=False, allow_blank=True, help_text=about)


class PropertiesForm(Form):
    """Further properties of an image, and the hardware that the guests of its version get."""

    os_distro = _one("Which edition of the system is in it, for example winxp or debian12.")
    architecture = _one("x86_64 (64 bit) or i686 (32 bit).", 16)
    owner_group = _one("A path like edu.school.class.", 200)

    def get_fields(self) -> dict[str, Any]:
        """Those above, and one for each piece of hardware."""
        return super().get_fields() | {name: _one(f"{_HARDWARE[name]} One of {', '.join(words)}.", 16) for name, words in CHOICES.items()}


class ChangeForm(PropertiesForm):
    """What shall be said of an image from now on; what is not named stays as it is."""

    description = Text(max_length=2000, required=False, allow_blank=True, lines=True)
    os_type = _one("Which system is in it, for example linux or windows.")


def apart(sent: dict[str, Any]) -> dict[str, Any]:
    """Takes the properties that only :class:`PropertiesForm` names out of what was sent; what is left, with them as ``more``."""
    more = {name: sent[name] for name in NAMES if name in PropertiesForm().get_fields() and name in sent}
    return {name: value for name, value in sent.items() if name not in more} | {"more": more}
