"""Drivers of the cloud controller: directories of people, by the scheme of their address."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clc.drivers import ldap_directory
from clc.drivers.base import LdapSettings, PeopleDirectory

DIRECTORIES: dict[str, Callable[[LdapSettings, str, Sequence[str]], PeopleDirectory]] = {"ldap": ldap_directory.make, "ldaps": ldap_directory.make}
"""Each is made of settings, the secret, and the attributes that are asked for beside those the settings name."""
