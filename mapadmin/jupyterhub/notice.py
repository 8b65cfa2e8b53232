"""What users read on the hub's pages: a file in the folder that mapadmin shares with the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic
from mapadmin.core.plan import Kind, Plan, Step

FILE = "notice.json"


class NoticeStep(Step, frozen=True, kw_only=True):
    """The notice, as it shall be; empty: none."""

    text: str


def read_notice(folder: Path) -> str:
    """What users read now; empty for nothing. Raises MapadminError for a file that is not ours."""
    path = folder / FILE
    try:
        text = json.loads(path.read_text(encoding="utf-8"))["text"]
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise MapadminError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise MapadminError(
            f"{path} is not a notice of mapadmin's.", remedy="Look at it, and remove it."
        ) from None
    return str(text)


def plan_notice(before: str, text: str) -> Plan:
    """Nothing to do when users read just that."""
    if before == text:
        return Plan()
    action = "write notice" if text else "clear notice"
    return Plan((NoticeStep(action=action, target=FILE, detail=text, text=text),))


def kind(folder: Path) -> Kind:
    """How a NoticeStep is carried out: the file is replaced as a whole, and the hub may read it."""

    def execute(steps: Sequence[NoticeStep]) -> Iterator[None]:
        for step in steps:
            write_atomic(folder / FILE, json.dumps({"text": step.text}) + "\n")
            yield

    return Kind(execute)
