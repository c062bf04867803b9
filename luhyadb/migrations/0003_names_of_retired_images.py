"""A retired image gives its name back."""

from django.db import migrations, models


def keep(apps, schema_editor):
    """Those that are not retired have theirs."""
    images = apps.get_model("luhyadb", "Image").objects.using(schema_editor.connection.alias)
    images.filter(retired=False).update(live_name=models.F("name"))


class Migration(migrations.Migration):
    """One image of a name that is not retired."""

    dependencies = [("luhyadb", "0002_pool")]
    operations = [
        migrations.AddField("image", "live_name", models.CharField(default=None, max_length=63, null=True, unique=True)),
        migrations.RunPython(keep, migrations.RunPython.noop),
        migrations.AlterField("image", "name", models.CharField(max_length=63)),
    ]
