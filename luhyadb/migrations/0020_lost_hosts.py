"""Of a host that was removed it is known whether its machine is gone for good."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('luhyadb', '0019_found_after'),
    ]

    operations = [
        migrations.AddField(
            model_name='host',
            name='lost',
            field=models.BooleanField(default=False, help_text='an administrator said that its machine is gone for good'),
        ),
    ]
