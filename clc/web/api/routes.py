"""Every address that is no page: API, its description, health."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from clc.web import health
from clc.web.api import builds, elsewhere, hosts, images, instances, letters, people, status, tasks, uploads, workspaces

api = [
    path("login/", people.Login.as_view(), name="api_login"),
    path("status/", status.Status.as_view()),
    path("users/", people.Users.as_view()),
    path("users/me/", people.Me.as_view()),
    path("users/me/password/", people.MyPassword.as_view()),
    path("users/<str:user>/", people.OneUser.as_view()),
    path("users/<str:user>/password/", people.UserPassword.as_view()),
    path("hosts/", hosts.Hosts.as_view()),
    path("hosts/tokens/", hosts.Tokens.as_view()),
    path("hosts/<str:host>/", hosts.OneHost.as_view()),
    path("hosts/<str:host>/approve/", hosts.Approve.as_view()),
    path("hosts/<str:host>/refresh/", hosts.Refresh.as_view()),
    path("hosts/<str:host>/drain/", hosts.Drain.as_view()),
    path("hosts/<str:host>/resume/", hosts.Resume.as_view()),
    path("images/", images.Images.as_view()),
    path("images/import/", images.Import.as_view(), name="api_import"),
    path("images/<str:image>/", images.OneImage.as_view()),
    path("images/<str:image>/prefetch/", images.Prefetch.as_view()),
    path("images/<str:image>/renew/", images.Renew.as_view()),
    path("images/<str:image>/versions/", images.Versions.as_view()),
    path("images/<str:image>/versions/<int:version>/parts/<str:part>/", images.PartBytes.as_view()),
    path("images/<str:image>/versions/<int:version>/", images.OneVersion.as_view()),
    path("images/<str:image>/versions/<int:version>/rollback/", images.RollBack.as_view()),
    path("workspaces/", workspaces.Workspaces.as_view()),
    path("workspaces/<str:workspace>/", workspaces.OneWorkspace.as_view()),
    path("workspaces/<str:workspace>/start/", workspaces.Start.as_view()),
    path("workspaces/<str:workspace>/stop/", workspaces.Stop.as_view()),
    path("workspaces/<str:workspace>/submit/", workspaces.Submit.as_view()),
    path("builds/", builds.Builds.as_view()),
    path("builds/<str:build>/", builds.OneBuild.as_view()),
    path("builds/<str:build>/end/", builds.End.as_view()),
    path("uploads/", uploads.Uploads.as_view(), name="api_uploads"),
    path("uploads/<str:upload>/", uploads.OneUpload.as_view()),
    path("uploads/<str:upload>/complete/", uploads.Complete.as_view()),
    path("uploads/<str:upload>/<str:part>/", uploads.Piece.as_view()),
    path("instances/", instances.Instances.as_view()),
    path("instances/<str:instance>/", instances.OneInstance.as_view()),
    path("instances/<str:instance>/stop/", instances.Stop.as_view()),
    path("instances/<str:instance>/start/", instances.Start.as_view()),
    path("instances/<str:instance>/reboot/", instances.Reboot.as_view()),
    path("instances/<str:instance>/restore/", instances.Restore.as_view()),
    path("instances/<str:instance>/why/", instances.Why.as_view()),
    path("instances/<str:instance>/log/", elsewhere.Log.as_view()),
    path("instances/<str:instance>/screen/", instances.Screen.as_view(), name="api_instance_screen"),
    path("events", elsewhere.Events.as_view()),
    path("letters/", letters.Letters.as_view()),
    path("letters/<str:letter>/", letters.OneLetter.as_view()),
    path("letters/<str:letter>/resend/", letters.Resend.as_view()),
    path("tasks/", tasks.Tasks.as_view()),
    path("tasks/<str:task>/", tasks.OneTask.as_view()),
    path("tasks/<str:task>/cancel/", tasks.Cancel.as_view()),
    path("tasks/<str:task>/trace/", tasks.Trace.as_view()),
]

urlpatterns = [
    path("api/v1/", include(api)),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
]
