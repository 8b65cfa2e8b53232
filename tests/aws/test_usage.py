"""`aws usage`: CloudWatch's figures, and the exact listing, which is right to the byte or fails."""

from __future__ import annotations

import random
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pexpect
import pytest

from mapadmin.aws import usage
from mapadmin.aws.listing import ListingError, Page, Part, _read, _rest, list_all
from mapadmin.aws.metrics import Point, days_until, of_database, slope
from mapadmin.sandbox.aws.seed import OBJECTS
from tests.aws.cloud import AwsLab
from tests.aws.stub_s3 import ODD, SHAPES, Config, Stub
from tests.aws.stubs import running_store

# --- CloudWatch --------------------------------------------------------------------------------


def test_both_ways_agree(lab: AwsLab) -> None:
    """The sandbox's figures of yesterday are those of its objects."""
    found = {row["name"]: row for row in lab.ok("aws", "usage", "--json").json}
    listed = lab.ok("aws", "usage", "--exact", "--json").json
    for name, bucket in (("reports", "map-reports"), ("archive", "map-ephys-archive")):
        assert found[name]["what"] == bucket
        by_class = {c["storage_class"]: c["bytes"] for c in found[name]["classes"]}
        true = {kind: sum(s for _, s in objects) for kind, objects in OBJECTS[bucket].items()}
        assert by_class == true
        rows = [row for row in listed if row["bucket"] == bucket]
        assert {row["storage_class"]: row["bytes"] for row in rows} == true
        assert found[name]["objects"] == sum(row["objects"] for row in rows)
        assert found[name]["bytes"] == sum(true.values())
        assert len(found[name]["history"]) == 90
    archive = found["archive"]
    # 60% came in 90 days, evenly; the limit is 5,000,000 bytes.
    assert archive["growth"] == pytest.approx(archive["bytes"] * 0.6 / 3, rel=0.01)
    left = (5_000_000 - archive["bytes"]) / (archive["growth"] / 30)
    assert archive["full_in"] == pytest.approx(left, abs=1)
    assert found["reports"]["full_in"] is None
    assert found["database"]["limit"] == 200 * 1024**3


def test_a_table_and_a_chart(lab: AwsLab) -> None:
    out = lab.ok("aws", "usage").out
    assert max(map(len, out.splitlines())) <= 80
    assert "\n  GLACIER " in out
    assert "▄" in out and "█" in out
    assert lab.run("aws", "usage", "nothing").code == 2
    assert lab.run("aws", "usage", "--depth", "2").code == 2


def test_growth_and_forecast() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    even = [Point(start + timedelta(days=n), 100.0 + 5 * n) for n in range(0, 30, 3)]
    assert slope(even) == pytest.approx(5)
    assert slope(even[:2]) is None  # three days say nothing
    assert slope([]) is None
    assert days_until(200, 100, 5) == 20
    assert days_until(200, 200, -1) == 0
    assert days_until(200, 100, 0) is None
    assert days_until(200, 100, -3) is None
    assert days_until(200, 100, None) is None


def test_a_disk_that_was_enlarged_grows_from_then_on() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    gib = 1024**3
    free = [40 - n for n in range(30)] + [110 - n for n in range(10)]  # 100 GiB, then 200
    free[35] = 90  # a temporary table, which is no growth and no leap
    points = [Point(start + timedelta(days=n), value * gib) for n, value in enumerate(free)]
    found = usage.disk_usage(
        "db", 200 * gib, {of_database("db", "FreeStorageSpace", "Minimum"): points}
    )
    assert found.history[0] == (date(2026, 1, 31), 90 * gib)
    assert found.growth == pytest.approx(30 * gib, rel=0.2)


def test_a_chart_has_gaps_where_days_have_no_figure() -> None:
    day = date(2026, 1, 1)
    history = [(day + timedelta(days=n), size) for n, size in ((0, 0), (1, 50), (3, 100))]
    assert usage.chart(history, 80) == "▁▄ █"
    assert usage.chart(history, 2) == "▄█"
    assert usage.chart([], 80) == ""
    assert usage.chart([(day, 0)], 80) == "▁"


# --- the listing -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["skewed", "balanced", "odd"])
def test_right_to_the_byte(lab: AwsLab, shape: str) -> None:
    """Also with 503, 429 and torn answers in between."""
    trouble: dict[str, Any] = {"fail": [503, 429, 500], "fail_every": 11, "torn_every": 17}
    with running_store(shape=shape, count=12_000, latency=0.01, **trouble) as store:
        lab.write_site(endpoint=None)
        ran = lab.run(
            "aws", "usage", "archive", "--exact", "--json",
            AWS_ENDPOINT_URL=lab.cloud.endpoint, AWS_ENDPOINT_URL_S3=store.endpoint,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        found = {(r["prefix"], r["storage_class"]): (r["objects"], r["bytes"]) for r in ran.json}
        assert found == store.truth()
        assert store.endpoint in ran.err
        assert store.counts()[1] > 1


def test_prefix_and_depth(lab: AwsLab) -> None:
    with running_store(shape="balanced", count=5000) as store:
        lab.write_site(endpoint=None)
        for prefix, depth in (("sub-440957/", 1), ("sub-44095", 2)):
            ran = lab.run(
                "aws", "usage", "archive", "--exact", "--json", "--prefix", prefix, "--depth",
                str(depth), AWS_ENDPOINT_URL=lab.cloud.endpoint, AWS_ENDPOINT_URL_S3=store.endpoint,
            )  # fmt: skip
            found = {
                (r["prefix"], r["storage_class"]): (r["objects"], r["bytes"]) for r in ran.json
            }
            assert found == store.truth(prefix, depth)


def fails(lab: AwsLab, **config: Any) -> str:
    """What is said when the listing cannot be complete; stdout must be empty then."""
    lab.write_site(endpoint=None)
    with running_store(count=5000, **config) as store:
        ran = lab.run(
            "aws", "usage", "archive", "--exact", AWS_ENDPOINT_URL=lab.cloud.endpoint,
            AWS_ENDPOINT_URL_S3=store.endpoint,
        )  # fmt: skip
    assert ran.out == ""
    assert ran.code == (3 if config.get("forbidden") else 1), ran.err
    return ran.err


@pytest.mark.timeout(120)
def test_a_page_that_is_lost_for_good_is_no_answer_at_all(lab: AwsLab) -> None:
    said = fails(lab, lost="sub-440958/ses-07/trial_0013.npy")
    assert "The listing is not complete" in said
    assert "HTTP 500" in said


def test_a_page_that_contradicts_itself_is_no_page() -> None:
    def page(**config: Any) -> bytes:
        return Stub(Config(ready="", count=50, **config)).answer("/b?encoding-type=url")[1]

    good = page()
    assert _read(good, Part(""), str).keys == 50
    for text in (
        page(short=True),
        good[: len(good) // 2],
        good.replace(b"<IsTruncated>false</IsTruncated>", b""),
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]>' + good[good.index(b"<List") :],
        b"",
        b"<html>busy</html>",
    ):
        with pytest.raises((ValueError, SyntaxError)):
            _read(text, Part(""), str)
    with pytest.raises(ListingError, match="does not list in order"):
        _read(good, Part("", after="zzz"), str)
    with pytest.raises(ListingError, match="does not list in order"):
        _read(good, Part("other"), str)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("threads", [1, 4, 32])
def test_each_key_is_counted_once(shape: str, threads: int) -> None:
    """Pages of seven keys, so that parts of parts are split again; no HTTP."""
    stub = Stub(Config(ready="", shape=shape, count=300))
    seen: dict[str, int] = {}

    def group(key: str) -> str:
        return key

    def get(query: dict[str, str]) -> Any:
        status, text = stub.answer("/b?" + urlencode({**query, "max-keys": "7"}))
        return SimpleNamespace(status_code=status, content=text)

    for page in list_all(get, "", group, threads=threads):
        for (key, _), (number, _) in page.tally.items():
            seen[key] = seen.get(key, 0) + number
    assert seen == dict.fromkeys(stub.keys, 1)
    assert stub.pages < 20 * len(stub.keys)


def test_requests_are_signed(lab: AwsLab) -> None:
    """The stub checks each signature; here with prefixes that must be encoded, and a wrong key."""
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SESSION_TOKEN": "of/a+role=="}
    lab.write_site(endpoint=None, credentials=None)
    with running_store(shape="odd", count=2000) as store:
        for prefix, secret, code in (
            ("a+b", "s", 0), ("größe/ä", "s", 0), ("a%20b", "s", 0), ("", "other", 3),
        ):  # fmt: skip
            ran = lab.run(
                "aws", "usage", "archive", "--exact", "--json", "--prefix", prefix, **keys,
                AWS_ENDPOINT_URL=lab.cloud.endpoint, AWS_ENDPOINT_URL_S3=store.endpoint,
                AWS_SECRET_ACCESS_KEY=secret,
            )  # fmt: skip
            assert ran.code == code, ran.err
            if code == 0:
                found = {(prefix, r["storage_class"]): (r["objects"], r["bytes"]) for r in ran.json}
                assert found == store.truth(prefix)


def test_through_a_proxy(lab: AwsLab) -> None:
    """A host that there is not: whatever answers for it is the proxy."""
    lab.write_site(endpoint=None)
    with running_store(shape="odd", count=2000) as store:
        ran = lab.run(
            "aws", "usage", "archive", "--exact", "--json", AWS_ENDPOINT_URL=lab.cloud.endpoint,
            AWS_ENDPOINT_URL_S3="http://s3.invalid", HTTP_PROXY=store.endpoint,
            NO_PROXY="127.0.0.1",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        found = {("", r["storage_class"]): (r["objects"], r["bytes"]) for r in ran.json}
        assert found == store.truth()


def test_progress_at_a_terminal(lab: AwsLab) -> None:
    lab.write_site(endpoint=None)
    with running_store(count=20_000, latency=0.5) as store:
        child = pexpect.spawn(
            str(Path(sys.executable).with_name("mapadmin")),
            ["aws", "usage", "archive", "--exact"], encoding="utf-8", timeout=60,
            dimensions=(24, 80), env=lab.environment(
                AWS_ENDPOINT_URL=lab.cloud.endpoint, AWS_ENDPOINT_URL_S3=store.endpoint,
                TERM="xterm",
            ),
        )  # fmt: skip
        child.expect("Listing map-ephys-archive")
        child.expect("[0-9],000 objects")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


def test_no_permission_to_list(lab: AwsLab) -> None:
    assert "HTTP 403" in fails(lab, forbidden=True)


def test_what_a_page_leaves_falls_apart_exactly() -> None:
    """For random keys and pages: each key behind the page is in one part, and in one only."""
    chooser = random.Random(7)
    letters = ["a", "b", "0", "9", "/", "~", "é", "\U0010ffff", "\n"]
    cases = 0
    for _ in range(400):
        keys = sorted({"".join(chooser.choices(letters, k=chooser.randint(1, 6)))
                       for _ in range(60)} | set(ODD))  # fmt: skip
        prefix = chooser.choice(["", "a", "b/", "\U0010ffff"])
        inside = [key for key in keys if key.startswith(prefix)]
        if len(inside) < 4:
            continue
        cut = chooser.randint(1, len(inside) - 2)
        page = Page({}, keys=cut, first=inside[0], last=inside[cut - 1], more=True)
        for free, forks in ((0, None), (1, {1}), (3, None), (3, {1, 2}), (40, None), (40, set())):
            parts = _rest(Part(prefix), page, free, forks)
            assert len(parts) <= max(1, free)
            for key in inside[cut:]:
                holders = [p for p in parts if key.startswith(p.prefix) and key > p.after
                           and not (p.but and key.startswith(p.but))]  # fmt: skip
                assert len(holders) == 1, (prefix, page, key, parts)
                cases += 1
            assert not any(
                key.startswith(p.prefix) and key > p.after and not (p.but and key.startswith(p.but))
                for key in inside[:cut] for p in parts
            )  # fmt: skip
    assert cases > 10_000
