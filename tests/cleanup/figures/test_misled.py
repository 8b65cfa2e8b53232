"""An S3 whose answers are not what took place, or that is written to in the meantime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cleanup.figures.lab import FigureLab

MISLED = str(Path(__file__).with_name("misled.py"))


def misled(figures: FigureLab, how: str, *args: str) -> str:
    """What a cleanup of figures says to such an S3."""
    done = subprocess.run(
        [sys.executable, MISLED, how, "cleanup", "figures", "--force", *args],
        env=figures.lab.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_a_file_that_is_written_anew_is_not_collected(on_s3: FigureLab) -> None:
    on_s3.make(2)
    assert on_s3.s3
    client, bucket = on_s3.s3.client, on_s3.s3.bucket
    key = "reports/v2/session9/old.png"
    client.put_object(Bucket=bucket, Key=key, Body=b"old contents")
    on_s3.age(1)
    said = misled(on_s3, "upload", "--reconcile", "--collect")
    assert "1 file without a row" in said
    assert "Moved to the trash: 0 files" in said, said
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"new contents", said
    assert on_s3.trashed() == set()


def test_a_delete_that_took_place_although_s3_says_no(on_s3: FigureLab) -> None:
    on_s3.make(2)
    on_s3.delete(0, 1)
    before = on_s3.files()
    assert "InternalError: Try again." in misled(on_s3, "denied")
    assert on_s3.tracked() == 1
    assert len(on_s3.files()) == 1
    assert on_s3.files() | on_s3.trashed() == before
    on_s3.datajoint(do="make", first=0, last=2)
    on_s3.lab.ok("cleanup", "figures")
    assert on_s3.check() == 5


def test_s3_that_stops_answering_within_a_transaction(on_s3: FigureLab) -> None:
    """The rows are let go after one attempt, and the next run puts the files back."""
    on_s3.make(4)
    on_s3.delete(0, 1, 2, 3)
    said = misled(on_s3, "silent")
    assert "cannot be reached" in said
    assert int(said.partition("asked in vain: ")[2]) <= 3
    assert on_s3.tracked() == 10
    on_s3.datajoint(do="make", first=0, last=4)
    on_s3.lab.ok("cleanup", "figures")
    assert on_s3.check() == 10
