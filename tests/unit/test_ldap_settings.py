"""LDAP where nothing of it is installed, and what of an entry is told."""

import sys

import pytest

from clc.drivers import DIRECTORIES
from clc.drivers.base import LdapSettings, is_called, is_typable, same
from clc.drivers.ldap_directory import _escaped_id, _text
from luhyaapi.errors import Failed

SETTINGS = LdapSettings(uri="ldaps://ldap.school", base="dc=school")


def test_without_the_library_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ldap", None)
    with pytest.raises(Failed, match="python-ldap is not installed") as error:
        DIRECTORIES["ldaps"](SETTINGS, "", ())
    assert error.value.code == "missing"


@pytest.mark.parametrize("value", [b"ann", "\u674e\u660e".encode(), bytes(range(16)), b"hex:ab", b"\xff\xfe", b"", b"line\n", b"\0" * 16])
def test_an_id_is_found_again_by_what_is_kept_of_it(value):
    told = _text(value)
    assert told.isprintable()
    assert bytes.fromhex(_escaped_id(told).replace("\\", "")) == value


def test_values_are_compared_without_case_and_spaces_of_a_dn():
    assert same("CN=Teachers, OU=Groups ,DC=school") == same("cn=teachers,ou=groups,dc=school")
    assert same("cn=a b,dc=x") != same("cn=ab,dc=x")


def test_only_what_was_typed_is_a_name():
    assert is_called(["Ann"], "aNN")
    assert not is_called(["Ann"], "Ann ")
    assert not is_typable("an\0n")
    assert not is_typable("x" * 151)


def test_whatever_attributes_the_filter_names_are_names():
    made = LdapSettings(uri="ldaps://x", base="dc=x", filter="(&(objectClass=person)(|(uid={name})(mail={name})(userPrincipalName={name})))")
    assert made.typed == ("uid", "mail", "userPrincipalName")
