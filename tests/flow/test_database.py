"""The cluster's database says no for a moment, at every statement of an order: nothing is lost, nobody calls it a fault of ours."""

import contextlib

import pytest
from django.db import OperationalError, connections

from tests.support.walks import sampled

WHY = "Deadlock found when trying to get lock; try restarting transaction"


class Hiccup:
    """While the cluster carries out an order, its ``at``-th statement (from 0) fails; ``seen`` counts them."""

    def __init__(self, cloud, at):
        self.at, self.seen, self.at_work = at, 0, False
        self._worker = cloud.p.houses["cc"].agent.worker
        self._do = self._worker._do

    @contextlib.contextmanager
    def possible(self):
        def do(row):
            self.at_work = True
            try:
                self._do(row)
            finally:
                self.at_work = False

        self._worker._do = do
        try:
            with connections["cc"].execute_wrapper(self):
                yield
        finally:
            del self._worker._do

    def __call__(self, execute, sql, params, many, context):
        if self.at_work and sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            self.seen += 1
            if self.seen - 1 == self.at:
                raise OperationalError(1213, WHY)
        return execute(sql, params, many, context)


def _go(cloud, at):
    hiccup = Hiccup(cloud, at)
    one, task = cloud.ask()
    with hiccup.possible():
        cloud.until_rest()
    return one, task, hiccup.seen


@pytest.mark.walk
def test_each_statement_of_a_run_fails_once(cloud):
    *_, statements = _go(cloud, -1)
    assert statements > 15
    for at in sampled(range(statements)):
        one, task, _ = _go(cloud, at)
        assert cloud.task(task) == ("done", None), at
        assert cloud.state(one) == "running", at
    cloud.rest()
