"""Ends of machines, budgets, and what reports are told from: when machines ran, who had which public address, what clusters had."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def begin(apps, schema_editor):
    """What runs and who has a public address is known from now on; since when, as far as it was kept."""
    using = schema_editor.connection.alias
    instance, run, elastic, holding = (apps.get_model("luhyadb", name) for name in ("Instance", "Run", "ElasticAddress", "AddressHolding"))
    run.objects.using(using).bulk_create([
        run(instance_id=row.pk, owner_id=row.owner_id, group_id=row.group_id, cpus=row.cpus, memory_mib=row.memory_mib, began_at=row.changed_at)
        for row in instance.objects.using(using).filter(state__in=["running", "stopping"])
    ], batch_size=500)
    holding.objects.using(using).bulk_create([
        holding(elastic_id=row.pk, address=row.address, owner_id=row.owner_id, group_id=row.owner.group_id, began_at=row.allocated_at)
        for row in elastic.objects.using(using).exclude(owner=None).select_related("owner")
    ], batch_size=500)


class Migration(migrations.Migration):

    dependencies = [
        ('luhyadb', '0017_departures_requests_passkeys'),
    ]

    operations = [
        migrations.CreateModel(
            name='ExpiryRule',
            fields=[
                ('group', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, serialize=False, to='luhyadb.group')),
                ('default_s', models.FloatField(default=None, null=True)),
                ('longest_s', models.FloatField(default=None, null=True)),
                ('warn_s', models.FloatField(default=None, null=True)),
                ('delete_after_s', models.FloatField(default=None, null=True)),
                ('budget_grace_s', models.FloatField(default=None, null=True)),
                ('set_by', models.CharField(max_length=150)),
                ('set_at', models.FloatField()),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Expiry',
            fields=[
                ('instance', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='expiry', serialize=False, to='luhyadb.instance')),
                ('expires_at', models.FloatField(db_index=True)),
                ('set_by', models.CharField(blank=True, default='', max_length=150)),
                ('warn_at', models.FloatField()),
                ('warned_at', models.FloatField(default=0)),
                ('late', models.BooleanField(default=False)),
                ('ended_at', models.FloatField(db_index=True, default=0)),
                ('tried_at', models.FloatField(default=0)),
                ('let_go', models.BooleanField(default=False)),
            ],
            options={
                'indexes': [models.Index(fields=['warned_at', 'warn_at'], name='luhyadb_exp_warned__461cd6_idx')],
            },
        ),
        migrations.CreateModel(
            name='AddressHolding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('address', models.CharField(max_length=15)),
                ('began_at', models.FloatField()),
                ('ended_at', models.FloatField(default=0)),
                ('elastic', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='luhyadb.elasticaddress')),
                ('group', models.ForeignKey(default='grp-00000000', on_delete=django.db.models.deletion.SET_DEFAULT, to='luhyadb.group')),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['began_at', 'id'],
                'indexes': [models.Index(fields=['began_at', 'id'], name='luhyadb_add_began_a_d9eb03_idx')],
            },
        ),
        migrations.CreateModel(
            name='Budget',
            fields=[
                ('id', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('counted', models.CharField(choices=[('hours', 'Machine hours'), ('cpu_hours', 'Processor hours')], max_length=16)),
                ('hours', models.PositiveBigIntegerField()),
                ('from_at', models.FloatField()),
                ('to_at', models.FloatField()),
                ('set_by', models.CharField(max_length=150)),
                ('set_at', models.FloatField()),
                ('warned_at', models.FloatField(default=0)),
                ('spent_at', models.FloatField(default=0)),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
                ('group', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, to='luhyadb.group')),
            ],
            options={
                'ordering': ['id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('account__isnull', True), ('group__isnull', True), _connector='XOR'), name='budget_of_one'), models.UniqueConstraint(fields=('group', 'counted'), name='one_budget_of_a_group'), models.UniqueConstraint(fields=('account', 'counted'), name='one_budget_of_a_person')],
            },
        ),
        migrations.CreateModel(
            name='CapacitySample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.FloatField(db_index=True)),
                ('nodes', models.PositiveIntegerField()),
                ('cpus', models.PositiveIntegerField()),
                ('cpus_used', models.PositiveIntegerField()),
                ('cpus_promised', models.PositiveIntegerField()),
                ('memory_mib', models.PositiveBigIntegerField()),
                ('memory_used_mib', models.PositiveBigIntegerField()),
                ('memory_promised_mib', models.PositiveBigIntegerField()),
                ('disk_mib', models.PositiveBigIntegerField()),
                ('disk_promised_mib', models.PositiveBigIntegerField()),
                ('cluster', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='luhyadb.host')),
            ],
            options={
                'ordering': ['at', 'id'],
                'constraints': [models.UniqueConstraint(fields=('cluster', 'at'), name='one_sample_at_a_time')],
            },
        ),
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('cpus', models.PositiveIntegerField()),
                ('memory_mib', models.PositiveIntegerField()),
                ('began_at', models.FloatField()),
                ('ended_at', models.FloatField(default=0)),
                ('unknown_at', models.FloatField(default=0)),
                ('group', models.ForeignKey(default='grp-00000000', on_delete=django.db.models.deletion.SET_DEFAULT, to='luhyadb.group')),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='runs', to='luhyadb.instance')),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['began_at', 'id'],
                'indexes': [models.Index(fields=['group', 'began_at'], name='luhyadb_run_group_i_9a8d78_idx'), models.Index(fields=['owner', 'began_at'], name='luhyadb_run_owner_i_24501d_idx'), models.Index(fields=['began_at', 'id'], name='luhyadb_run_began_a_814960_idx'), models.Index(fields=['instance', 'ended_at'], name='luhyadb_run_instanc_75ca90_idx')],
            },
        ),
        migrations.RunPython(begin, migrations.RunPython.noop),
    ]
