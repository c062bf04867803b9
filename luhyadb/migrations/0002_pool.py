"""The one row that lenders lock: made here, so that no two of them have to make it at once."""

from django.db import migrations


def lend(apps, schema_editor):
    """The pool of the cluster's one network."""
    apps.get_model("luhyadb", "Pool").objects.using(schema_editor.connection.alias).get_or_create(name="default")


class Migration(migrations.Migration):
    """Data only."""

    dependencies = [("luhyadb", "0001_initial")]
    operations = [migrations.RunPython(lend, migrations.RunPython.noop)]
