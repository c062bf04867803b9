"""REST routes and pages."""

urlpatterns: list[object] = []
