"""The image store stops while it checks what came in: that is no reason to throw it away."""

import pytest

from luhyaapi.contracts.reports import Progress
from luhyadb.models import ImageVersion
from tests.support.disks import MIB
from tests.support.flow_world import KERNEL

pytestmark = pytest.mark.walk


def test_a_stop_in_the_middle_of_a_publish_loses_no_upload(cloud):
    task = cloud.upload("lab", KERNEL + bytes(3 * MIB))
    agent = cloud.p.houses["walrus"].agent
    told, report = [], agent.report

    def tell(fact, task=""):
        report(fact, task)
        if isinstance(fact, Progress):
            told.append(fact.phase)
            agent.worker.stop()

    agent.report = tell
    cloud.p.settle()
    assert told
    assert str(ImageVersion.objects.get(image__name="lab").state) == "building"
    cloud.crash("walrus")
    cloud.until_rest()
    assert cloud.task(task.pk) == ("done", None)
    assert str(ImageVersion.objects.get(image__name="lab").state) == "published"
