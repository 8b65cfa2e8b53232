"""A store in a bucket: the only module here that talks to boto3.

S3 has no rename. A file is copied into the trash before any lock is held, and deleted while the
lock is. What somebody uploads between the two has the same contents (the key of a blob or an
attachment is a hash of them), or cannot be: for a filepath, a worker uploads nothing while the row
is there. Where there is no row, it is to be seen by `changed`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mapadmin.cleanup.figures.backend import (
    TRASH,
    Failed,
    Found,
    Fresh,
    Missing,
    Trouble,
    only_runs,
)
from mapadmin.core.errors import ExitCode, MapadminError, UnreachableError

if TYPE_CHECKING:
    from mapadmin.core.secret import Secret
    from mapadmin.site import StoreSettings

THREADS = 16
_AT_ONCE = 1000  # keys that DeleteObjects takes
_WHOLE = 5 * 1024**3  # bytes that CopyObject takes; beyond it a copy is made of parts
_ABSENT = {"404", "NoSuchKey", "NotFound"}
_DENIED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}


class Bucket:
    """The Backend of a store in a bucket of S3 or of a server that speaks its language."""

    def __init__(
        self,
        name: str,
        settings: StoreSettings,
        keys: tuple[Secret, Secret] | None,
        others: Iterable[str] = (),
    ) -> None:
        """`others` are the trashes of all stores, none of whose files is the store's."""
        self._name = name
        self.bucket = settings.bucket
        self._location = settings.location
        self._trash = settings.trash or str(PurePosixPath(self._location, TRASH))
        self._others = tuple(f"{each.strip('/')}/" for each in (self._trash, *others))
        self._seen: dict[str, tuple[object, object]] = {}  # what was copied, by key
        self._client = _client(settings, keys)

    @property
    def where(self) -> str:
        return f"s3://{PurePosixPath(self.bucket, self._location)}"

    def check(self) -> None:
        with self._translated():
            self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)

    def exists(self, key: str) -> bool:
        with self._translated():
            return self._head(self._full(key)) is not None

    def has_taken(self, key: str) -> bool:
        runs = self.runs()
        with self._translated():
            return any(self._head(self._trashed(run, key)) is not None for run in runs)

    # --- to the trash ---------------------------------------------------------------------------

    def prepare(self, run: str, sizes: Mapping[str, int], cutoff: float) -> dict[str, Trouble]:
        def copy(key: str) -> Trouble | None:
            head = self._head(self._full(key))
            if head is None:
                return Missing()
            if head["LastModified"].timestamp() >= cutoff:
                return Fresh()
            self._seen[key] = _version(head)
            return self._copy(self._full(key), self._trashed(run, key), head)

        self._seen.clear()
        with self._translated():
            return {key: bad for key, bad in self._each(copy, list(sizes)) if bad is not None}

    def _copy(self, source: str, target: str, head: Mapping[str, Any]) -> Trouble | None:
        """A copy with its metadata, in which datajoint keeps the checksum."""
        from botocore.exceptions import ClientError

        place = {"Bucket": self.bucket, "Key": source}
        try:
            if head["ContentLength"] >= _WHOLE:
                kept = {"Metadata": head["Metadata"], "ContentType": head["ContentType"]}
                self._client.copy(place, self.bucket, target, ExtraArgs=kept)
            else:
                self._client.copy_object(
                    CopySource=place, Bucket=self.bucket, Key=target, CopySourceIfMatch=head["ETag"]
                )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _ABSENT:
                return Missing()
            if code in ("PreconditionFailed", "412"):  # written since the last line
                return Fresh()
            if code in _DENIED:
                raise
            return Failed(f"{code}: {error.response['Error'].get('Message', '')}")
        return None

    def take(self, run: str, keys: Sequence[str], cutoff: float) -> dict[str, Trouble]:
        del run, cutoff
        return self._delete({self._full(key): key for key in keys})

    def changed(self, keys: Sequence[str]) -> dict[str, Trouble]:
        def compare(key: str) -> Trouble | None:
            head = self._head(self._full(key))
            if head is None:
                return Missing()
            return None if self._seen.get(key) == _version(head) else Fresh()

        with self._translated():
            return {key: bad for key, bad in self._each(compare, keys) if bad is not None}

    def drop(self, run: str, keys: Sequence[str]) -> None:
        # A delete that is said to have failed may have been one; the copy is then the only one.
        # And what is dropped is what is known to be in its place, not what was to be.
        def place(key: str) -> Trouble | None:
            return None if self._head(self._full(key)) is not None else Missing()

        with self._translated():
            away = {key for key, bad in self._each(place, keys) if bad is not None}
        for key in sorted(away):
            self.give_back(run, key)
        self._delete({self._trashed(run, key): key for key in keys if key not in away})

    def give_back(self, run: str, key: str) -> bool:
        with self._translated():
            head = self._head(self._trashed(run, key))
            if head is None or self._head(self._full(key)) is not None:
                return False
            if bad := self._copy(self._trashed(run, key), self._full(key), head):
                raise MapadminError(f"Cannot put back {self.where}/{key}: {bad}.")
        self._delete({self._trashed(run, key): key})
        return True

    def note(self, run: str, number: int, text: str) -> None:
        with self._translated():
            self._client.put_object(
                Bucket=self.bucket, Key=f"{self._trash}/{run}/rows-{number:06}.jsonl",
                Body=text.encode("utf-8", "backslashreplace"),
            )  # fmt: skip

    def finish(self) -> None:
        """The trash is where it is to be."""

    # --- the trash ------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        names = []
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"{self._trash}/", Delimiter="/"
            )
            for page in pages:
                names += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
        return only_runs((name.rstrip("/").rpartition("/")[2] for name in names), self._name)

    def trashed(self, run: str) -> Iterator[Found]:
        return self._list(f"{self._trash}/{run}/files/")

    def digest(self, run: str, key: str, prefix: bytes) -> bytes:
        hashed = hashlib.md5(prefix, usedforsecurity=False)
        with self._translated():
            answer = self._client.get_object(Bucket=self.bucket, Key=self._trashed(run, key))
            for chunk in answer["Body"].iter_chunks(1 << 20):
                hashed.update(chunk)
        return hashed.digest()

    def purge(self, run: str, keys: Sequence[str]) -> dict[str, Trouble]:
        return self._delete({self._trashed(run, key): key for key in keys})

    def purge_run(self, run: str) -> None:
        prefix = f"{self._trash}/{run}/"
        notes = [f"{prefix}{found.key}" for found in self._list(prefix)]
        if all("/files/" not in note.removeprefix(self._trash) for note in notes):
            self._delete({note: note for note in notes})

    def walk(self) -> Iterator[Found]:
        prefix = str(PurePosixPath(self._location, "x"))[:-1]
        for found in self._list(prefix):
            full = f"{prefix}{found.key}".lstrip("/")
            if not full.startswith(self._others) and f"/{TRASH}/" not in f"/{full}":
                yield found

    # --- requests -------------------------------------------------------------------------------

    def _full(self, key: str) -> str:
        return str(PurePosixPath(self._location, key))

    def _trashed(self, run: str, key: str) -> str:
        return f"{self._trash}/{run}/files/{key}"

    def _head(self, full: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            answer: Mapping[str, Any] = self._client.head_object(Bucket=self.bucket, Key=full)
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        return answer

    def _list(self, prefix: str) -> Iterator[Found]:
        with self._translated():
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            ):
                for each in page.get("Contents", ()):
                    key = each["Key"].removeprefix(prefix)
                    if key and not key.endswith("/"):  # a console's idea of a folder
                        yield Found(key, each["Size"], each["LastModified"].timestamp())

    def _delete(self, keys: Mapping[str, str]) -> dict[str, Trouble]:
        """Delete objects (full key -> key); a thousand a request. Deleting none is no error."""
        out: dict[str, Trouble] = {}
        full = list(keys)
        with self._translated():
            for start in range(0, len(full), _AT_ONCE):
                some = [{"Key": key} for key in full[start : start + _AT_ONCE]]
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": some, "Quiet": True}
                )
                for error in answer.get("Errors", ()):
                    out[keys[error["Key"]]] = Failed(f"{error['Code']}: {error.get('Message', '')}")
        return out

    def _each(
        self, work: Callable[[str], Trouble | None], keys: Sequence[str]
    ) -> Iterable[tuple[str, Trouble | None]]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(THREADS) as pool:
            return list(zip(keys, pool.map(work, keys), strict=True))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            if code in _DENIED:
                raise MapadminError(
                    f"{self.where}: access is denied ({code}: {text}).",
                    remedy="Check access_key and secret_key of the store, and what they may do.",
                    exit_code=ExitCode.SETTINGS,
                ) from None
            raise UnreachableError(f"{self.where}: {code}: {text}.") from None
        except BotoCoreError as error:
            raise UnreachableError(f"{self.where} cannot be reached: {error}.") from None


def _version(head: Mapping[str, Any]) -> tuple[object, object]:
    return head["ETag"], head["LastModified"]


def _client(settings: StoreSettings, keys: tuple[Secret, Secret] | None) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5},
        max_pool_connections=THREADS,
        s3={"addressing_style": "path"} if settings.endpoint else {},
        # Servers that are not AWS's know no newer checksums.
        request_checksum_calculation="when_required", response_checksum_validation="when_required",
    )  # fmt: skip
    options: dict[str, Any] = {"config": config, "region_name": settings.region or None}
    if settings.endpoint:
        options["endpoint_url"] = f"http{'s' if settings.secure else ''}://{settings.endpoint}"
        options["region_name"] = settings.region or "us-east-1"
    if keys is not None:
        options["aws_access_key_id"] = keys[0].reveal()
        options["aws_secret_access_key"] = keys[1].reveal()
    return boto3.client("s3", **options)
