"""Of an instance it is known which order placed it on its node."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('luhyadb', '0020_lost_hosts'),
    ]

    operations = [
        migrations.AddField(
            model_name='instance',
            name='fence',
            field=models.PositiveIntegerField(default=0, help_text='the generation of the order that placed it there'),
        ),
        migrations.AlterField(
            model_name='placement',
            name='fence',
            field=models.PositiveIntegerField(default=1, help_text='the generation of the order that placed it here'),
        ),
    ]
