"""What a node said of an instance is known with the order after which it said it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('luhyadb', '0018_limits'),
    ]

    operations = [
        migrations.AddField(
            model_name='placement',
            name='found_gen',
            field=models.PositiveIntegerField(default=0, help_text='after the order of which generation its node said that'),
        ),
    ]
