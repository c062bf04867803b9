"""An S3-compatible server keeps the objects. Only who is told to use one imports this: it costs half a second and 40 MB.

botocore, and not what stands on it: one PUT streams a file with the checksum we say, and is there as a whole or not at all.
boto3 adds threads that cut a file in parts; minio holds each part in memory, and what a death leaves of parts stays.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError  # noqa: A004 - their name for it
from botocore.parsers import ResponseParserError
from botocore.session import Session

from luhyaapi import points
from luhyaapi.conf import Settings, read_secret
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from walrus.drivers.base import PIECE, is_name, named, plain, span

_CONNECTS_S = 10.0
_TRIES = 3
_SILENT = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)
_MD5 = partial(hashlib.md5, usedforsecurity=False)
_IS_MD5 = re.compile("[0-9a-f]{32}")
_PLAINLY_NAMED = (None, "AES256")
"""Encryptions with which S3 promises that the ETag is the MD5 of the bytes."""


class _NotThere(Refused):
    """404."""


class _BehindTheEnd(Refused):
    """416."""


# the more telling code of an answer before its status; Ceph, MinIO and Swift call it differently when they are full
_MEANS: dict[str | int, tuple[type[Trouble], str, str]] = {
    **dict.fromkeys(
        (507, "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "EntityTooLarge"),
        (Failed, "disk_full", "The object store is full"),
    ),
    **dict.fromkeys(
        (429, 500, 502, 503, 504, "NoSuchBucket", "OperationAborted", "RequestTimeout"),
        (Unavailable, "interrupted", "The object store cannot do it now"),
    ),
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"),
        (Failed, "digest", "The object store got other bytes than it was sent"),
    ),
    **dict.fromkeys((401, 403), (Refused, "forbidden", "The object store does not let us in")),
    404: (_NotThere, "not_found", "There is no such object"),
    416: (_BehindTheEnd, "invalid", "The object ends before that"),
}


def make(settings: Settings) -> S3Store:
    """The bucket that the settings name. Raises Refused(not_found) for a secret that cannot be read, and as :class:`S3Store`."""
    s = settings.store
    if s.ca_file and not s.ca_file.is_file():
        raise Refused("not_found", f"The authority's file {s.ca_file} cannot be read")
    try:
        return S3Store(s.endpoint, s.bucket, s.access_key, read_secret(s.secret_file), s.region, s.prefix, s.ca_file)
    except (ValueError, BotoCoreError) as e:
        raise Refused("invalid", "The object store cannot be where the settings say", str(e)) from e


class S3Store:
    """Objects in ``bucket`` of the server at ``endpoint`` (a URL), under ``prefix``; the bucket is made when there is none.

    ``ca_file`` holds the authorities of an https endpoint; None: the well-known ones. A request is tried three times, each time
    the server may be silent for ``patience_s`` seconds. An object has at most 5 GiB. The server must show what was written to
    whoever reads next, as S3 does; Swift with one replica may say Refused(not_found) at the moment an object is replaced.
    Opening raises Unavailable(interrupted), Refused(forbidden), Refused(invalid) for a prefix that is no name.
    """

    def __init__(
        self, endpoint: str, bucket: str, access_key: str, secret_key: str, region: str = "us-east-1", prefix: str = "",
        ca_file: Path | None = None, *, patience_s: float = 30.0,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{named(prefix.strip('/'))}/" if prefix else ""
        session = Session()
        # what somebody keeps in his home for his own clouds is not meant for this one
        session.set_config_variable("config_file", os.devnull)
        self._client = session.create_client(
            "s3", endpoint_url=endpoint, region_name=region, verify=str(ca_file) if ca_file else None,
            aws_access_key_id=access_key, aws_secret_access_key=secret_key,
            config=Config(
                connect_timeout=min(_CONNECTS_S, patience_s), read_timeout=patience_s, max_pool_connections=16,
                retries={"total_max_attempts": _TRIES, "mode": "standard"}, s3={"addressing_style": "path"},
                # their default checksums are not what other servers speak; ours is the Content-MD5 of every PUT
                request_checksum_calculation="when_required", response_checksum_validation="when_required",
            ),
        )
        if not self._is_bucket_there():
            self._make_bucket(region)

    def put(self, name: str, data: bytes) -> None:
        self._send(name, data, _MD5(data).digest())

    def put_file(self, name: str, file: Path) -> None:
        named(name)
        with plain(file) as opened:
            digest = hashlib.file_digest(opened, _MD5).digest()
            opened.seek(0)
            points.at("object: before send")
            self._send(name, opened, digest)
            points.at("object: after send")
        file.unlink()

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        with _plainly(name), closing(self._open(name, start, length)) as body:
            return bytes(body.read())

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        return _pieces(self._open(name, start, length), name)

    def size(self, name: str) -> int:
        try:
            with _plainly(name):
                return int(self._client.head_object(Bucket=self._bucket, Key=self._key(name))["ContentLength"])
        except _NotThere as e:
            # the answer to a HEAD has no room for a reason
            if self._is_bucket_there():
                raise
            raise Unavailable("interrupted", "The bucket of the objects is gone", self._bucket) from e

    def names(self, prefix: str) -> Iterator[str]:
        with _plainly(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
            for page in pages:
                found = (each["Key"].removeprefix(self._prefix) for each in page.get("Contents", ()))
                yield from filter(is_name, found)

    def delete(self, name: str) -> None:
        with suppress(_NotThere), _plainly(name):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return self._prefix + named(name)

    def _send(self, name: str, body: bytes | io.BufferedReader, md5: bytes) -> None:
        key = self._key(name)
        with _plainly(name):
            answer = self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentMD5=base64.b64encode(md5).decode("ascii"))
        kept = answer.get("ETag", "").strip('"')
        if answer.get("ServerSideEncryption") in _PLAINLY_NAMED and _IS_MD5.fullmatch(kept) and kept != md5.hex():
            self.delete(name)
            raise Failed("digest", "The object store keeps other bytes than it was sent", f"{name}: its MD5 is {kept}, not {md5.hex()}")

    def _open(self, name: str, start: int, length: int | None) -> Any:
        """What ``read(n)`` and ``close()`` can be called on."""
        span(start, length)
        if length == 0:
            self.size(name)
            return io.BytesIO()
        whole = start == 0 and length is None
        wanted = {} if whole else {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"}
        try:
            with _plainly(name):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name), **wanted)
        except _BehindTheEnd:
            return io.BytesIO()
        if not whole and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            answer["Body"].close()
            raise Failed("program", "The object store sends no parts of objects", f"{name} from {start} on was answered with the whole")
        return answer["Body"]

    def _is_bucket_there(self) -> bool:
        try:
            with _plainly(self._bucket):
                self._client.head_bucket(Bucket=self._bucket)
        except _NotThere:
            return False
        return True

    def _make_bucket(self, region: str) -> None:
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with _plainly(self._bucket):
            try:
                self._client.create_bucket(Bucket=self._bucket, **place)
            except self._client.exceptions.BucketAlreadyOwnedByYou:
                return  # another process was quicker


def _pieces(body: Any, name: str) -> Iterator[bytes]:
    with _plainly(name), closing(body):
        while data := body.read(PIECE):
            yield data


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Say what the server says, or that it says nothing, in our words."""
    try:
        yield
    except ClientError as e:
        raise _said(e, name) from e
    except _SILENT as e:
        raise Unavailable("interrupted", "The object store does not answer", f"{name}: {e}") from e


def _said(error: ClientError, name: str) -> Trouble:
    code = error.response["Error"].get("Code", "")
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    kind, means, what = _MEANS.get(code) or _MEANS.get(status) or (Failed, "program", "The object store refuses the request")
    return kind(means, what, f"{name}: {status} {code}, {error.response['Error'].get('Message', '')}")
