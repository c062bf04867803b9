"""The addresses of the console and API, and beside them what one would write with plain DRF over the same table."""

from typing import Any

from django.urls import path
from rest_framework import generics, pagination, serializers

from deploy.urls import urlpatterns as ours
from luhyadb import scope
from luhyadb.models import Instance


class Shape(serializers.ModelSerializer):
    """As our pictures: the fields, and names of what they point at."""

    owner = serializers.CharField(source="owner.username")
    image_name = serializers.CharField(source="image.image.name")
    image_version = serializers.IntegerField(source="image.version")

    class Meta:
        model = Instance
        fields = ("id", "name", "state", "wanted", "usage", "image_name", "image_version", "cpus", "memory_mib", "owner", "cluster", "node", "nics",
                  "display_port", "accelerator", "error", "created_at", "changed_at", "task")


class Pages(pagination.LimitOffsetPagination):
    """What DRF offers by itself."""

    max_limit = 10_000


class Peer(generics.ListAPIView):
    """All one may see, newest first."""

    serializer_class = Shape
    pagination_class = Pages

    def get_queryset(self) -> Any:
        return scope.visible_to(self.request.user, Instance).exclude(state="deleted").select_related("image__image", "owner").order_by("-created_at", "-pk")


urlpatterns = [*ours, path("peer/", Peer.as_view())]
