"""What the tests of fetching from strangers share."""

import hashlib
import ipaddress
import os

import pytest

from luhyaapi.errors import Refused, Trouble
from tests.support.small_http import HOME

CONTENT = os.urandom(1024 * 1024 + 70_001) + bytes(300_000) + b"end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ALLOWED = (ipaddress.ip_network(f"{HOME}/32"),)
TAG = {"etag": '"v1"'}


def refused(code, get, url, kind=Refused, **more):
    with pytest.raises(Trouble) as e:
        get(url, **more)
    assert (type(e.value), e.value.code) == (kind, code), str(e.value)
    return str(e.value)


def decent(asked):
    asked.give(CONTENT, **TAG)


def to(location, status=302):
    return lambda asked: asked.head(status, location=location.encode().decode("latin-1"), content_length=0)


def at_home(_host, _port):
    return [HOME]
