"""/api/v1/builds/: images built outside the cloud, shown as tasks."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import builds, pictures
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, TaskShape, says
from clc.web.rest import Form, Text, Whole, accepted

TAG = "builds"


class BuildForm(Form):
    """What is being built."""

    name = Text(max_length=80, help_text="Name the image will have.")


class NewsForm(Form):
    """How far it is."""

    phase = Text(max_length=40, help_text="What is being done now.")
    percent = Whole(help_text="0 to 99.")


class EndForm(Form):
    """How it ended: well, or with what went wrong and why."""

    what = Text(max_length=300, required=False, allow_blank=True, default="")
    why = Text(max_length=1000, required=False, allow_blank=True, default="", lines=True)


class Builds(Endpoint):
    """New builds."""

    @says(TaskShape, 202, sends=BuildForm, parameters=[KEY], tag=TAG, operation_id="builds_begin")
    @once
    def post(self, _request: Request) -> Response:
        """Say that an image is being built, so that others see it and wait (administrators)."""
        task = builds.begin(self.account, **self.sent(BuildForm))
        return accepted(task.pk, pictures.task(task))


class OneBuild(Endpoint):
    """A build under way."""

    @says(TaskShape, sends=NewsForm, tag=TAG, operation_id="builds_report")
    def put(self, _request: Request, build: str) -> Response:
        """Tell how far it is; whoever reads another state than ``running`` in the answer stops. Ten minutes without news: lost."""
        return Response(pictures.task(builds.report(self.account, build, **self.sent(NewsForm))))


class End(Endpoint):
    """The end of a build."""

    @says(TaskShape, sends=EndForm, parameters=[KEY], tag=TAG, operation_id="builds_end")
    @once
    def post(self, _request: Request, build: str) -> Response:
        """Say how it ended."""
        return Response(pictures.task(builds.end(self.account, build, **self.sent(EndForm))))
