"""A block store in a folder, as Walrus has it."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from walrus.drivers.local import LocalStore
from walrus.services.blockstore import BlockStore

KEY = Ed25519PrivateKey.generate()


def opened(folder, key=KEY, quota_mib=1000, objects=None):
    """Its objects in ``folder/objects``, or in that store of objects; opened again it has what it had."""
    return BlockStore(objects or LocalStore(folder / "objects", 0), folder / "places", key, quota_mib, 0)


def whole(store, sha256):
    """A file of it."""
    return b"".join(store.read(sha256, 0, store.size(sha256)))
