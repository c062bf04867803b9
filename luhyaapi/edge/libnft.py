"""libnftables by its C interface: the only door to nf_tables. Seven functions, a text in, a text out."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import threading
from typing import Any

from luhyaapi.errors import Failed

_JSON, _TERSE = 1 << 4, 1 << 11
_NETLINK_NETFILTER = 12
_NEW_GENERATION, _GET_GENERATION = 0x0A0F, 0x0A10  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_...GEN
_ERROR, _REQUEST = 2, 1
_ID = 1
_ANSWER_S = 5.0
_KEPT = 300


class Nftables:
    """One handle of the library, usable by any thread, for the network namespace of the thread that first uses it after :meth:`close`.

    Raises Failed(missing) when the library is not installed.
    """

    def __init__(self, library: str = "libnftables.so.1") -> None:
        self._lock = threading.Lock()
        self._functions = _load(library)
        self._opened: tuple[int, socket.socket] | None = None

    def run(self, text: str) -> None:
        """Commands as one transaction: all of them, or Failed(network) and none."""
        self._said(text, 0)

    def read(self, text: str, *, terse: bool = False) -> list[dict[str, Any]]:
        """The objects that a list command shows, without handles; ``terse``: sets without their elements. Raises Failed(network)."""
        said = self._said(text, _JSON | (_TERSE if terse else 0))
        objects = json.loads(said)["nftables"] if said else []
        return [_without_handle(each) for each in objects if "metainfo" not in each]

    def generation(self) -> int:
        """The kernel's number of the whole ruleset, in this namespace: one more with each transaction of anybody. Raises Failed(network)."""
        with self._lock:
            _context, netlink = self._open()
            try:
                netlink.send(struct.pack("=IHHIIBBH", 20, _GET_GENERATION, _REQUEST, 0, 0, 0, 0, 0))
                return _generation(netlink.recv(4096))
            except OSError as e:
                self._close()  # its answer may still come, and would be taken for that of the next question
                raise Failed("network", "The packet rules could not be read", str(e)) from e

    def close(self) -> None:
        """Free what is open; the next use opens it anew."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._opened is not None:
            context, netlink = self._opened
            self._functions.nft_ctx_free(context)
            netlink.close()
            self._opened = None

    def _open(self) -> tuple[int, socket.socket]:
        if self._opened is None:
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
            netlink.settimeout(_ANSWER_S)
            context: int = self._functions.nft_ctx_new(0)
            self._functions.nft_ctx_buffer_output(context)
            self._functions.nft_ctx_buffer_error(context)
            self._opened = context, netlink
        return self._opened

    def _said(self, text: str, flags: int) -> str:
        with self._lock:
            context, _netlink = self._open()
            self._functions.nft_ctx_output_set_flags(context, flags)
            failed = self._functions.nft_run_cmd_from_buffer(context, text.encode())
            error: bytes = self._functions.nft_ctx_get_error_buffer(context) or b""
            output: bytes = self._functions.nft_ctx_get_output_buffer(context) or b""
        if failed:
            # The lines after the first repeat our text, which may be long.
            why = error.decode("utf-8", "replace").partition("\n")[0][:_KEPT]
            raise Failed("network", "nftables took it not", why or "it did not say why")
        return output.decode("utf-8", "replace")


def _load(library: str) -> ctypes.CDLL:
    try:
        found = ctypes.CDLL(library)
    except OSError as e:
        raise Failed("missing", "The library of nftables is not there", str(e), hint="Install the package libnftables1.") from e
    context, text, flags = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
    for name, result, arguments in (
        ("nft_ctx_new", context, (ctypes.c_uint32,)),
        ("nft_ctx_free", None, (context,)),
        ("nft_ctx_buffer_output", ctypes.c_int, (context,)),
        ("nft_ctx_buffer_error", ctypes.c_int, (context,)),
        ("nft_ctx_get_output_buffer", text, (context,)),
        ("nft_ctx_get_error_buffer", text, (context,)),
        ("nft_ctx_output_set_flags", None, (context, flags)),
        ("nft_run_cmd_from_buffer", ctypes.c_int, (context, text)),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


def _generation(message: bytes) -> int:
    """The number in an answer: behind two headers a list of attributes (length, type, value padded to 4). Raises OSError for any other."""
    length, kind = struct.unpack_from("=IH", message)
    if kind == _ERROR:
        code = -struct.unpack_from("=i", message, 16)[0]
        raise OSError(code, os.strerror(code))
    at = 20
    while kind == _NEW_GENERATION and at + 4 <= length:
        size, what = struct.unpack_from("=HH", message, at)
        if what == _ID:
            return int.from_bytes(message[at + 4:at + 8])
        at += max(size + 3 & ~3, 4)
    raise OSError(errno.EPROTO, f"the kernel answered {message[:36].hex()}")


def _without_handle(each: dict[str, Any]) -> dict[str, Any]:
    return {kind: {k: v for k, v in body.items() if k != "handle"} for kind, body in each.items()}
