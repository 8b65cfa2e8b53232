"""[cleanup]: what `mapadmin cleanup` does, and within which limits."""

from __future__ import annotations

import msgspec

from mapadmin.site.base import RefusedError, Settings

PARTS = ("jobs", "figures", "outdated", "trash")

# MAP's own list, of `automate-sync-and-cleanup`, with the `%` that its LostConnectionError lacked.
GENERIC_ERRORS = (
    "%Deadlock%", "%DuplicateError%", "%Lock wait timeout%", "%MaxRetryError%",
    "%KeyboardInterrupt%", "InternalError: (1205%", "%SIGTERM%", "%LostConnectionError%",
)  # fmt: skip


class JobsCleanup(Settings, frozen=True, kw_only=True):
    """[cleanup.jobs]"""

    errors: list[str] = msgspec.field(default_factory=lambda: list(GENERIC_ERRORS))
    """Error messages that are worth another try, as patterns of SQL's LIKE."""
    retries: int = 3
    """How often a key is tried again by itself; then it is reported as poisonous and left."""
    grace: float = 1800.0
    """Seconds for which a reservation is left alone, whatever its worker looks like."""
    confirm: float = 5.0
    """Seconds between the two looks at a reservation that seems dead."""
    max_items: int = 10_000
    """The most rows that one run clears."""
    copies_days: float = 180.0
    """Days for which the copies of cleared rows are kept; 0: for ever."""

    def __post_init__(self) -> None:
        if not all(self.errors):
            raise RefusedError("errors", "must not hold an empty pattern")
        if any(not pattern.strip("%_ ") for pattern in self.errors):
            raise RefusedError("errors", "must not hold a pattern that every message matches")
        for name, good, rule in (
            ("retries", self.retries >= 0, "must be 0 or more"),
            ("grace", self.grace >= 1, "must be 1 second or more"),
            ("confirm", 0.1 <= self.confirm <= 600, "must be 0.1 to 600 seconds"),
            ("max_items", self.max_items >= 1, "must be 1 or more"),
            ("copies_days", self.copies_days >= 0, "must be 0 or more"),
        ):
            if not good:
                raise RefusedError(name, rule)


class OutdatedRule(Settings, frozen=True, kw_only=True):
    """[[cleanup.outdated]]: rows that are to be computed again, with all that hangs on them."""

    name: str
    """What the rule is called in reports."""
    schema: str
    table: str
    """The table's name on the server (`__unit_stat`) or its class (`UnitStat`)."""
    restriction: str = ""
    """A condition of SQL on the table's columns: the rows that it holds for are outdated."""
    query: str = ""
    """Or a query that yields the primary keys of the outdated rows, by the columns' names."""
    max_rows: int = 10_000
    """Rows, of all tables together, beyond which the rule is refused."""
    max_share: float = 0.5
    """Share of the table beyond which the rule is refused: it matches too much."""

    def __post_init__(self) -> None:
        if bool(self.restriction.strip()) == bool(self.query.strip()):
            raise RefusedError("restriction", "or query must be given, and not both")
        for name, good, rule in (
            ("name", self.name.strip() != "", "must not be empty"),
            ("schema", self.schema != "", "must not be empty"),
            ("table", self.table != "", "must not be empty"),
            ("max_rows", self.max_rows >= 1, "must be 1 or more"),
            ("max_share", 0 < self.max_share <= 1, "must be a share above 0, at most 1"),
        ):
            if not good:
                raise RefusedError(name, rule)


class StageFolder(Settings, frozen=True, kw_only=True):
    """[[cleanup.stage]]: copies of stored files on this machine, which anybody can fetch again."""

    store: str
    """The store whose `stage` it is: only what that store has, too, is removed."""
    folder: str
    """The stage directory."""
    days: float = 14.0
    """Files that nobody has read or written for this long are removed."""

    def __post_init__(self) -> None:
        if not self.folder.strip():
            raise RefusedError("folder", "must not be empty")
        if self.days < 1:
            raise RefusedError("days", "must be 1 or more")


class CleanupSettings(Settings, frozen=True, kw_only=True):
    """[cleanup]"""

    parts: list[str] = msgspec.field(default_factory=lambda: ["jobs"])
    """What `mapadmin cleanup` does, in this order: jobs, figures, outdated, trash."""
    time_limit: float = 0.0
    """Seconds after which a run stops between two items; 0: none."""
    jobs: JobsCleanup = msgspec.field(default_factory=JobsCleanup)
    outdated: list[OutdatedRule] = msgspec.field(default_factory=list)
    stage: list[StageFolder] = msgspec.field(default_factory=list)
    legacy_command: str = "automate-sync-and-cleanup"
    """A word of the command line of the worker that cleaned up before; empty: there is none."""
    legacy_account: str = ""
    """The database account of that worker, if it has one of its own: seen from everywhere."""

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown:
            raise RefusedError("parts", f"has {unknown[0]!r}, and must be of: {', '.join(PARTS)}")
        if len(set(self.parts)) != len(self.parts):
            raise RefusedError("parts", "must name each part once")
        if self.time_limit < 0:
            raise RefusedError("time_limit", "must be 0 or more seconds")
        names = [rule.name for rule in self.outdated]
        if len(set(names)) != len(names):
            raise RefusedError("outdated", "must name each rule differently")
