"""Progress of long work, and answers that stream: on a terminal, in a pipe, as JSON lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pexpect
import pytest

from mapadmin.core.progress import Progress

WORK = """
import sys, time
from mapadmin.core import progress
from mapadmin.core.report import Report
progress.QUIET_SECONDS = 0.3
with Report().progress("Listing", total=4000, unit="files") as bar:
    for number in range(8):
        bar.advance(500, note=f"folder [{number}]\x1b")
        time.sleep(0.25)
print("over")
"""


STREAMING = """
import time
from mapadmin.core.report import Report

def rows(bar):
    for number in range(4):
        time.sleep(0.6)
        bar.advance()
        yield number

report = Report()
with report.progress("Listing") as bar:
    report.stream(rows(bar), lambda row: f"row {row}")
"""


def test_a_bar_on_a_terminal_that_is_gone_afterwards() -> None:
    child = pexpect.spawn(
        sys.executable, ["-c", dedent(WORK)], dimensions=(24, 100), encoding="utf-8", timeout=30
    )
    child.expect(r"Listing .*2,500 of 4,000 files folder \[4\]\\x1b")
    child.expect("over")
    child.expect(pexpect.EOF)
    assert "Listing" not in (child.before or "")


def test_rows_go_where_stdout_goes_while_a_bar_shows(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    child = pexpect.spawn(
        "sh", ["-c", f'"$0" -c "$1" > {rows}', sys.executable, dedent(STREAMING)],
        dimensions=(24, 100), encoding="utf-8", timeout=30,
    )  # fmt: skip
    child.expect("Listing ")
    child.expect(pexpect.EOF)
    assert "row" not in (child.before or "")
    assert rows.read_text() == "row 0\nrow 1\nrow 2\nrow 3\n"


def test_lines_now_and_then_in_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", dedent(WORK)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "over\n"
    lines = done.stderr.splitlines()
    assert 3 <= len(lines) <= 6
    assert all(re.fullmatch(r"Listing: [\d,]+ of 4,000 files", line) for line in lines)


@pytest.mark.parametrize(
    ("total", "unit", "words"),
    [
        (None, "", "1,536"),
        (4000, "files", "1,536 of 4,000 files"),
        (2**30, "B", "1.5 KiB of 1.0 GiB"),
    ],
)
def test_words(total: int | None, unit: str, words: str) -> None:
    bar = Progress("x", total=total, unit=unit)
    bar.advance(1536)
    assert bar.words() == words


STREAM = r"""
import sys
from mapadmin.core.report import Report
rows = [{"name": "a\nb", "size": 1}, {"name": "\udcff", "size": 2}]
count = Report(as_json=bool(sys.argv[1:])).stream(iter(rows), lambda row: f"{row['name']} !")
print(count, file=sys.stderr)
"""


def stream(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", dedent(STREAM), *options], capture_output=True, text=True,
        check=True,
    )  # fmt: skip


def test_a_line_a_record() -> None:
    done = stream()
    assert done.stdout == "a\\nb !\n\\udcff !\n"
    assert done.stderr == "2\n"


def test_json_lines() -> None:
    lines = stream("--json").stdout.splitlines()
    assert [json.loads(line)["size"] for line in lines] == [1, 2]
    assert json.loads(lines[0])["name"] == "a\nb"
