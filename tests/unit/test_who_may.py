"""The rule against a model of its own: random trees, roles, grants, shares and owners, each question answered by both."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyadb import paths, scope
from luhyadb.models import (
    AccessRole,
    Account,
    Grant,
    Group,
    GroupAbove,
    Host,
    Image,
    ImageVersion,
    Instance,
    Permission,
    Share,
)
from luhyadb.models.groups import EVERYBODY
from luhyadb.ready_made import key_of
from tests.support.many import many

pytestmark = pytest.mark.django_db
MODELS = {Kind.HOST: Host, Kind.IMAGE: Image, Kind.INSTANCE: Instance}
ASKED = [verb for verb in Verb if verb != Verb.CREATE]


class School:
    """A random one. What is in the database is also here, as plain values the model reads."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.groups = {EVERYBODY: ""}
        self.roles: dict[str, set[tuple[str, str]]] = {name: set(Permission.objects.filter(role=name).values_list("kind", "verb"))
                                                       for name in AccessRole.objects.values_list("name", flat=True)}
        self.people: dict[int, tuple[str, str]] = {}
        self.grants: list[tuple[int, str, str]] = []
        self.shares: list[tuple[str, str, str, int | None, str | None]] = []
        self.things: dict[str, tuple[Kind, str, int | None]] = {}
        self._grow()

    def _grow(self) -> None:
        pick, n = self.chance.choice, self.chance.randrange
        for number in range(30):
            above = pick(list(self.groups))
            # names of which one begins another: edu.a and edu.ab
            path = ".".join(filter(None, (self.groups[above], f"a{'b' * n(3)}{n(4)}")))
            if path in self.groups.values():
                continue
            ident = f"grp-{number + 1:08x}"
            self.groups[ident] = path
            Group.objects.create(id=ident, path=path, key=key_of(path), parent_id=above)
            over = GroupAbove.objects.filter(group=above).values_list("above", flat=True)
            GroupAbove.objects.bulk_create([GroupAbove(group_id=ident, above_id=each) for each in (*over, ident)])
        for number in range(4):
            name = f"own-{number}"
            self.roles[name] = {(pick(list(Kind)).value, pick(list(Verb)).value) for _ in range(n(5))}
            AccessRole.objects.create(name=name)
            Permission.objects.bulk_create(Permission(role_id=name, kind=kind, verb=verb) for kind, verb in self.roles[name])
        for number in range(8):
            group, role = pick(list(self.groups)), pick([each for each in self.roles if each != "superAdm"])
            row = Account.objects.create(username=f"p{number}", group_id=group, access_role_id=role)
            self.people[row.pk] = (group, role)
            for _ in range(n(4)):
                role, group = pick(list(self.roles)), pick(list(self.groups))
                if (row.pk, role, group) not in self.grants:
                    self.grants.append((row.pk, role, group))
                    Grant.objects.create(id=f"gra-{len(self.grants):08x}", account=row, role_id=role, group_id=group, created_at=0)
        self._fill()

    def _fill(self) -> None:
        pick = self.chance.choice
        everyone, version = list(self.people), None
        for number in range(120):
            kind, group, owner = pick([Kind.HOST, Kind.IMAGE, Kind.INSTANCE]), pick(list(self.groups)), pick(everyone)
            ident = f"{ {Kind.HOST: 'nc', Kind.IMAGE: 'img', Kind.INSTANCE: 'ins'}[kind]}-{number:08x}"
            if kind is Kind.HOST:
                Host.objects.create(id=ident, role="nc", name=ident, group_id=group)
            elif kind is Kind.IMAGE or version is None:
                kind, ident = Kind.IMAGE, f"img-{number:08x}"
                image = Image.objects.create(id=ident, name=ident, live_name=ident, group_id=group, owner_id=owner, created_at=0)
                version = ImageVersion.objects.create(image=image, version=1, created_at=0)
            else:
                Instance.objects.create(id=ident, name=ident, live_name=ident, group_id=group, owner_id=owner, image=version, cpus=1, memory_mib=1,
                                        created_at=0, changed_at=0)
            self.things[ident] = (kind, group, None if kind is Kind.HOST else owner)
            for _ in range(self.chance.randrange(3)):
                self._share(kind, ident)

    def _share(self, kind: Kind, ident: str) -> None:
        pick = self.chance.choice
        verb = pick(list(Verb)).value
        to = (pick(list(self.people)), None) if self.chance.random() < 0.5 else (None, pick(list(self.groups)))
        if (each := (kind.value, ident, verb, *to)) not in self.shares:
            self.shares.append(each)
            Share.objects.create(id=f"shr-{len(self.shares):08x}", kind=kind, subject=ident, verb=verb, account_id=to[0], group_id=to[1], created_at=0)

    def may(self, who: int, verb: Verb, ident: str) -> bool:
        """The rule in words of its own: by paths, one thing after the other."""
        kind, group, owner = self.things[ident]
        if owner == who:
            return True
        enough = {verb.value, "full"} | ({"write", "execute", "delete"} if verb is Verb.READ else set())
        own_group, own_role = self.people[who]
        held = [(own_role, own_group), *((role, at) for holder, role, at in self.grants if holder == who)]
        for role, at in held:
            if paths.covers(self.groups[at], self.groups[group]) and any((kind.value, each) in self.roles[role] for each in enough):
                return True
        for of_kind, subject, given, person, to in self.shares:
            is_mine = person == who or (to is not None and paths.covers(self.groups[to], self.groups[own_group]))
            if is_mine and (of_kind, subject) == (kind.value, ident) and given in enough:
                return True
        return False


@pytest.mark.parametrize("seed", range(many(4)))
def test_the_rule_and_its_model_say_the_same(seed: int, record_property: Callable[[str, object], None]) -> None:
    school, asked = School(seed), 0
    for who in school.people:
        account = Account.objects.get(pk=who)
        held = scope.held(account)
        for kind, model in MODELS.items():
            may = scope.verbs_on(account, model.objects.all())
            for verb in ASKED:
                wanted = {ident for ident, (of, _group, _owner) in school.things.items() if of is kind and school.may(who, verb, ident)}
                assert set(scope.visible_to(account, model, verb).values_list("pk", flat=True)) == wanted, (who, kind, verb)
                assert {ident for ident, verbs in may.items() if verb in verbs} == wanted, (who, kind, verb)
                asked += len([1 for of, _group, _owner in school.things.values() if of is kind])
                for row in model.objects.order_by("?")[:2]:
                    assert bool(scope.reasons(account, row, verb)) == (row.pk in wanted), (who, kind, verb, row.pk)
                    assert (account in scope.who(row, verb)) == (row.pk in wanted)
                    assert held.may(kind, verb, row.group.path) == ("role" in {each.by for each in scope.reasons(account, row, verb)})
    assert asked >= 8 * 120 * len(ASKED)
    record_property("asked", asked)
