"""What a user hands to the guest."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Instances from before have none."""

    dependencies = [("luhyadb", "0003_names_of_retired_images")]
    operations = [
        migrations.AddField("instance", "user_data", models.TextField(
            blank=True, default="", help_text="for the guest alone: it may hold secrets, and nobody is shown it again")),
    ]
