"""Groups, access roles, grants and shares; the paths that images had become groups."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from luhyadb import paths, ready_made


def have(apps, schema_editor):
    """What every cloud has, before anything belongs to it."""
    ready_made.have(apps, schema_editor.connection.alias)


def move_images(apps, schema_editor):
    """A group for each path that an image had, and those above it."""
    using = schema_editor.connection.alias
    group, above, image = (apps.get_model("luhyadb", name) for name in ("Group", "GroupAbove", "Image"))
    for path in sorted(set(image.objects.using(using).exclude(owner_group="").values_list("owner_group", flat=True))):
        lineage = [ready_made.EVERYBODY]
        for n, _segment in enumerate(paths.segments(path), 1):
            here = ".".join(paths.segments(path)[:n])
            key = ready_made.key_of(here)
            row, is_new = group.objects.using(using).get_or_create(key=key, defaults={"id": f"grp-{key[:8]}", "path": here, "parent_id": lineage[-1]})
            lineage.append(row.pk)
            if is_new:
                above.objects.using(using).bulk_create(above(group_id=row.pk, above_id=each) for each in lineage)
        image.objects.using(using).filter(owner_group=path).update(group_id=lineage[-1])


def name_administrators(apps, schema_editor):
    """Who may do everything has the role that says so."""
    using = schema_editor.connection.alias
    apps.get_model("luhyadb", "Account").objects.using(using).filter(is_staff=True).update(access_role_id="superAdm")


def open_images(apps, schema_editor):
    """What belongs to everybody is everybody's to use, as what is uploaded from now on."""
    using = schema_editor.connection.alias
    image, share = (apps.get_model("luhyadb", name) for name in ("Image", "Share"))
    rows = image.objects.using(using).filter(group_id=ready_made.EVERYBODY, retired=False).order_by("pk").values_list("pk", "created_at")
    share.objects.using(using).bulk_create(
        share(id=f"shr-{ident[-8:]}", kind="image", subject=ident, verb="execute", group_id=ready_made.EVERYBODY, created_at=at) for ident, at in rows
    )


class Migration(migrations.Migration):

    dependencies = [
        ('luhyadb', '0011_ipv6'),
    ]

    operations = [
        migrations.CreateModel(
            name='AccessRole',
            fields=[
                ('name', models.CharField(max_length=63, primary_key=True, serialize=False)),
                ('ready_made', models.BooleanField(default=False)),
                ('description', models.CharField(blank=True, default='', max_length=200)),
            ],
            options={
                'ordering': ['-ready_made', 'name'],
            },
        ),
        migrations.CreateModel(
            name='Group',
            fields=[
                ('id', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('path', models.CharField(blank=True, max_length=700)),
                ('key', models.CharField(max_length=64, unique=True)),
                ('created_at', models.FloatField(default=0)),
                ('parent', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='children', to='luhyadb.group')),
            ],
            options={
                'ordering': ['path', 'id'],
            },
        ),
        migrations.CreateModel(
            name='GroupAbove',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('above', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='below_it', to='luhyadb.group')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='above_it', to='luhyadb.group')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('above', 'group'), name='one_pair_of_groups')],
            },
        ),
        migrations.CreateModel(
            name='Permission',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('host', 'Hosts'), ('image', 'Images'), ('instance', 'Machines'), ('account', 'Accounts and groups')], max_length=16)),
                ('verb', models.CharField(choices=[('read', 'See'), ('write', 'Change'), ('execute', 'Use'), ('create', 'Make'), ('delete', 'Delete'), ('full', 'All')], max_length=16)),
                ('role', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='permissions', to='luhyadb.accessrole')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('role', 'kind', 'verb'), name='one_permission_per_verb')],
            },
        ),
        migrations.RunPython(have, migrations.RunPython.noop),
        migrations.AddField(
            model_name='account',
            name='access_role',
            field=models.ForeignKey(default='user', on_delete=django.db.models.deletion.PROTECT, to='luhyadb.accessrole'),
        ),
        migrations.AddField(
            model_name='account',
            name='group',
            field=models.ForeignKey(default='grp-00000000', on_delete=django.db.models.deletion.PROTECT, to='luhyadb.group'),
        ),
        migrations.AddField(
            model_name='host',
            name='group',
            field=models.ForeignKey(default='grp-00000000', on_delete=django.db.models.deletion.PROTECT, to='luhyadb.group'),
        ),
        migrations.AddField(
            model_name='image',
            name='group',
            field=models.ForeignKey(default='grp-00000000', on_delete=django.db.models.deletion.PROTECT, to='luhyadb.group'),
        ),
        migrations.AddField(
            model_name='instance',
            name='group',
            field=models.ForeignKey(default='grp-00000000', on_delete=django.db.models.deletion.PROTECT, to='luhyadb.group'),
        ),
        migrations.RunPython(move_images, migrations.RunPython.noop),
        migrations.RemoveField(
            model_name='image',
            name='owner_group',
        ),
        migrations.CreateModel(
            name='Grant',
            fields=[
                ('id', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('created_at', models.FloatField()),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='grants', to=settings.AUTH_USER_MODEL)),
                ('role', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='luhyadb.accessrole')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='luhyadb.group')),
            ],
            options={
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(fields=('account', 'role', 'group'), name='one_grant_of_a_role')],
            },
        ),
        migrations.CreateModel(
            name='Share',
            fields=[
                ('id', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('host', 'Hosts'), ('image', 'Images'), ('instance', 'Machines'), ('account', 'Accounts and groups')], max_length=16)),
                ('subject', models.CharField(max_length=20)),
                ('verb', models.CharField(choices=[('read', 'See'), ('write', 'Change'), ('execute', 'Use'), ('create', 'Make'), ('delete', 'Delete'), ('full', 'All')], max_length=16)),
                ('created_at', models.FloatField()),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
                ('group', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to='luhyadb.group')),
            ],
            options={
                'ordering': ['id'],
                'indexes': [models.Index(fields=['account', 'kind', 'verb'], name='luhyadb_sha_account_342c94_idx'), models.Index(fields=['group', 'kind', 'verb'], name='luhyadb_sha_group_i_f32cf9_idx')],
                'constraints': [models.CheckConstraint(condition=models.Q(('account__isnull', True), ('group__isnull', True), _connector='XOR'), name='shared_with_one'), models.UniqueConstraint(fields=('kind', 'subject', 'verb', 'account'), name='shared_once_with_a_person'), models.UniqueConstraint(fields=('kind', 'subject', 'verb', 'group'), name='shared_once_with_a_group')],
            },
        ),
        migrations.RunPython(name_administrators, migrations.RunPython.noop),
        migrations.RunPython(open_images, migrations.RunPython.noop),
    ]
