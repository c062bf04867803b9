"""A host's draining is a wish that outlives its silence."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('luhyadb', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='host',
            name='drained',
            field=models.BooleanField(default=False, help_text='an administrator wants nothing new there, also while it is silent'),
        ),
    ]
