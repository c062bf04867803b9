"""What may reach an instance from outside: rules, groups, forwards, public addresses."""

import django.db.models.deletion
import luhyaapi.contracts.vocabulary
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('luhyadb', '0004_user_data'),
    ]

    operations = [
        migrations.CreateModel(
            name='Access',
            fields=[
                ('instance', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='access', serialize=False, to='luhyadb.instance')),
                ('rules', models.JSONField(default=list)),
                ('number', models.PositiveBigIntegerField(default=0)),
                ('heard', models.PositiveBigIntegerField(default=0)),
                ('said_at', models.FloatField(default=0)),
                ('trouble', models.JSONField(default=None, null=True)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.AddField(
            model_name='network',
            name='isolated',
            field=models.BooleanField(default=False, help_text='its guests do not reach each other'),
        ),
        migrations.AddField(
            model_name='network',
            name='way_out',
            field=models.BooleanField(default=True, help_text='its guests reach what lies outside of the cluster'),
        ),
        migrations.CreateModel(
            name='SecurityGroup',
            fields=[
                ('id', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=63)),
                ('rules', models.JSONField(default=list)),
                ('created_at', models.FloatField()),
                ('changed_at', models.FloatField()),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['name', 'id'],
            },
        ),
        migrations.CreateModel(
            name='GroupMember',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='groups', to='luhyadb.instance')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='members', to='luhyadb.securitygroup')),
            ],
            options={
                'ordering': ['group__name', 'id'],
            },
        ),
        migrations.CreateModel(
            name='ElasticAddress',
            fields=[
                ('id', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('address', models.CharField(max_length=15)),
                ('live_address', models.CharField(max_length=15, null=True, unique=True)),
                ('number', models.PositiveBigIntegerField()),
                ('allocated_at', models.FloatField(default=0)),
                ('released_at', models.FloatField(default=0)),
                ('created_at', models.FloatField()),
                ('retired_at', models.FloatField(default=0)),
                ('cluster', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='luhyadb.host')),
                ('instance', models.OneToOneField(default=None, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='elastic', to='luhyadb.instance')),
                ('owner', models.ForeignKey(default=None, null=True, on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['number', 'id'],
                'indexes': [models.Index(fields=['cluster', 'released_at'], name='luhyadb_ela_cluster_c8a9d9_idx')],
            },
        ),
        migrations.CreateModel(
            name='Forward',
            fields=[
                ('id', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('protocol', models.CharField(choices=[('tcp', 'TCP'), ('udp', 'UDP')], default=luhyaapi.contracts.vocabulary.Protocol['TCP'], max_length=16)),
                ('guest_port', models.PositiveIntegerField()),
                ('sources', models.JSONField(default=list)),
                ('until', models.FloatField(db_index=True, default=0)),
                ('address', models.CharField(blank=True, default='', max_length=15)),
                ('port', models.PositiveIntegerField(default=0)),
                ('trouble', models.JSONField(default=None, null=True)),
                ('created_at', models.FloatField()),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='forwards', to='luhyadb.instance')),
            ],
            options={
                'ordering': ['created_at', 'id'],
                'constraints': [models.UniqueConstraint(fields=('instance', 'protocol', 'guest_port'), name='one_forward_per_port')],
            },
        ),
        migrations.AddConstraint(
            model_name='securitygroup',
            constraint=models.UniqueConstraint(fields=('owner', 'name'), name='one_group_per_name'),
        ),
        migrations.AddConstraint(
            model_name='groupmember',
            constraint=models.UniqueConstraint(fields=('group', 'instance'), name='once_in_a_group'),
        ),
    ]
