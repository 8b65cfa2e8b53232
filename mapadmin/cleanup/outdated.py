"""`cleanup outdated`: results that the site's rules call outdated, with all that hangs on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from mapadmin.cleanup.parts import Item, PartResult, Work
from mapadmin.cleanup.stage import clean_stage
from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.core.text import count
from mapadmin.db.statements import identifier
from mapadmin.pipeline.cascade import (
    Cascade,
    ForeignKey,
    Touched,
    find_table,
    foreign_keys,
    preview,
    primary_key,
    rows_to_delete,
    snapshot,
)
from mapadmin.pipeline.innodb_keys import innodb_keys, refuse_unsafe
from mapadmin.pipeline.inventory import project_schemas, schemas_like
from mapadmin.pipeline.names import TableName
from mapadmin.pipeline.remote import listening, run_helper

if TYPE_CHECKING:
    from mapadmin.db.server import Server
    from mapadmin.site import OutdatedRule, Site

TOGETHER = 100  # rows of the rule's own table in one transaction


class OutdatedPart:
    """The rules in the order of the site file, then the stage directories."""

    name = "outdated"

    def run(self, work: Work, result: PartResult) -> None:
        """See `parts.Part`. A rule that cannot be carried out does not stop the next."""
        settings = work.site.settings.cleanup
        if settings.outdated:
            server = work.database.server
            ours = set(schemas_like(server, project_schemas(work.site)))
            for rule in settings.outdated:
                if work.out_of_time:
                    result.finished = False
                    return
                try:
                    _follow(work, result, rule, ours)
                except UnreachableError:
                    raise
                except MapadminError as error:
                    result.fail(f"rule {rule.name!r}", error)
        for stage in settings.stage:
            clean_stage(work, result, stage)


def _follow(work: Work, result: PartResult, rule: OutdatedRule, ours: set[str]) -> None:
    """Carry out one rule, or say what it would do. Raises MapadminError when it may not be."""
    server = work.database.server
    keys = foreign_keys(server)
    target = find_table(server, rule.schema, rule.table)
    with snapshot(server):
        cascade = preview(server, keys, target, condition_of(rule, primary_key(server, target)))
        if not cascade.rows:
            return
        _refuse(work, rule, cascade, ours)
        pages = rows_to_delete(server, cascade, together=TOGETHER)
    parents = [table for table in cascade.descendants if table.schema in ours]
    refuse_unsafe(innodb_keys(server), keys, parents, ours)
    items = [_item(rule, one) for one in cascade.touched]
    if work.dry_run:
        for item in items:
            result.plan(item)
        return
    if not work.yes:
        tables = ", ".join(f"{one.rows} of {one.table}" for one in cascade.touched)
        result.notes.append(f"rule {rule.name!r}: nothing is deleted without --yes ({tables})")
        return
    request = {
        "do": "delete",
        "table": Touched(target, 0).full_name,
        "restrictions": pages,
        "allowed": [one.full_name for one in cascade.touched],
        "schemas": sorted({one.table.schema for one in cascade.touched}),
    }
    with work.journalled(items):
        with (
            listening(server) as lock,
            closing(run_helper(work.site, {**request, "while_held": lock})) as answers,
            work.progress(f"Deleting by rule {rule.name}", total=len(pages)) as bar,
        ):
            for answer in answers:
                if answer["event"] == "deleted":
                    bar.advance()
                if work.out_of_time:
                    result.finished = False
                    break
        _account_for(result, items, cascade, _left(server, keys, target, pages))


def _left(
    server: Server, keys: Sequence[ForeignKey], target: TableName, pages: Sequence[str]
) -> Counter[TableName]:
    """How many rows of each table are still there, of those that were to be deleted."""
    left: Counter[TableName] = Counter()
    with snapshot(server):
        for page in pages:
            for one in preview(server, keys, target, page.replace("%", "%%")).touched:
                left[one.table] += one.rows
    return left


def _account_for(
    result: PartResult, items: Sequence[Item], before: Cascade, left: Counter[TableName]
) -> None:
    """Count what is gone, which is less than planned when the time was up."""
    for one, item in zip(before.touched, items, strict=True):
        gone = max(0, one.rows - left[one.table])
        result.add(Item(action=item.action, target=item.target, count=gone))
    if left and result.finished:
        raise MapadminError(f"{left.total()} rows are still there, or have been made anew.")


def condition_of(rule: OutdatedRule, primary: Sequence[str]) -> str:
    """The rule as a condition on its table, with `%` doubled for the driver."""
    text = (rule.restriction or rule.query).strip().rstrip(";")
    if ";" in text:
        raise MapadminError("it holds a semicolon: one condition, or one query, is wanted.")
    text = text.replace("%", "%%")
    if rule.restriction:
        return text
    names = ", ".join(map(identifier, primary))
    # Qualified: else a column that the query lacks would be the table's own, and fit every row.
    keys = ", ".join(f"outdated_keys.{identifier(name)}" for name in primary)
    return f"({names}) IN (SELECT {keys} FROM ({text}\n) AS outdated_keys)"


def _refuse(work: Work, rule: OutdatedRule, cascade: Cascade, ours: set[str]) -> None:
    """Raises MapadminError for a delete that would take what it must not, or too much."""
    personal = [one for one in cascade.touched if one.table.schema not in ours]
    if personal:
        whose = "; ".join(
            f"{count(one.rows, 'row')} of {one.table}, {_owner(work.site, one.table)}"
            for one in personal
        )
        raise MapadminError(
            f"rows outside the pipeline hang on what it would delete: {whose}.",
            remedy="Nothing was deleted. Ask whoever owns them to delete or to move them.",
        )
    if work.force:
        return
    own = cascade.touched[0].rows
    if own > rule.max_share * cascade.whole:
        raise MapadminError(
            f"it matches {own} of the {count(cascade.whole, 'row')} of {cascade.target}, more than "
            f"its max_share of {rule.max_share:g}.",
            remedy="Nothing was deleted. Mend the rule, or add --force.",
        )
    if cascade.rows > rule.max_rows:
        raise MapadminError(
            f"it would delete {cascade.rows} rows, more than its max_rows of {rule.max_rows}.",
            remedy="Nothing was deleted. Mend the rule, or add --force.",
        )


def _owner(site: Site, table: TableName) -> str:
    """Whose schema it is, by its name."""
    owners = [
        name
        for name in site.everyone()
        if table.schema == name or table.schema.startswith(f"{name}_")
    ]
    return f"which {max(owners, key=len)} owns" if owners else "whose owner is not known"


def _item(rule: OutdatedRule, one: Touched) -> Item:
    return Item(
        action="delete rows", target=str(one.table), count=one.rows, destroys=True,
        detail=f"{count(one.rows, 'row')}, by rule {rule.name}",
    )  # fmt: skip
