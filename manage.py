#!/usr/bin/env python3
"""Django's own command line, for the role whose configuration EDUCLOUD_CONFIG names."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")  # noqa: TID251 - for Django, which reads it
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
