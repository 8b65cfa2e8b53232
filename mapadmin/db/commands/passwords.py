"""`set-password`: a new one, beside the old one or instead of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Outcome, Plan
from mapadmin.core.secret import Secret, generate_password
from mapadmin.db import statements
from mapadmin.db.commands._app import app
from mapadmin.db.commands._options import (
    DjConfig,
    DjVersion,
    PasswordFile,
    PasswordStdin,
    Prompt,
)
from mapadmin.db.database import Database, changing
from mapadmin.db.grants import Account, Flavour
from mapadmin.db.hashes import is_missing, password_plugin
from mapadmin.db.passwords import DataJoint, Handover, read_password
from mapadmin.db.persons import managed_accounts, require_finished
from mapadmin.db.statements import SqlStep
from mapadmin.options import DryRun, Json


@app.command("set-password")
def set_password(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    host: Annotated[str | None, typer.Option(help="Only the account at this host.")] = None,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="The old password works, too, until --discard-old.")
    ] = False,
    discard_old: Annotated[
        bool, typer.Option("--discard-old", help="End the old password that --keep-old left.")
    ] = False,
    password_stdin: PasswordStdin = False,
    prompt: Prompt = False,
    password_file: PasswordFile = None,
    dj_config: DjConfig = None,
    dj_version: DjVersion = DataJoint.V0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Set a new password, the same for all hosts of a person; a generated one is shown once."""
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    handover = Handover(password_file, dj_config, dj_version, given=password_stdin or prompt)
    if keep_old and discard_old:
        raise UsageError("Choose one of --keep-old and --discard-old.")
    if not discard_old:
        handover.check(as_json=as_json)
    with changing(admin, mode) as database:
        if (keep_old or discard_old) and database.server.flavour is Flavour.MARIADB:
            raise UsageError(
                "MariaDB has no dual passwords: --keep-old needs MySQL 8.0.14 or newer."
            )
        accounts = managed_accounts(database, name, host)
        for account in accounts:
            require_finished(database, database.managed[account])
        if discard_old:
            database.perform(Plan(tuple(map(_discard_step, accounts))), mode)
            return
        handover.check_files((), admin.site.database)
        password = read_password(from_stdin=password_stdin, prompt=prompt) or generate_password()
        steps = tuple(_password_step(database, one, password, keep_old) for one in accounts)
        notes = () if keep_old else tuple(_other_ways(database, accounts))

        def deliver(outcome: Outcome) -> None:
            if outcome.ok and outcome.changed:
                handover.deliver({accounts[0]: password}, admin.site.database)

        database.perform(Plan(steps, notes), mode, after=deliver)


def _password_step(
    database: Database, account: Account, password: Secret, keep_old: bool
) -> SqlStep:
    flavour = database.server.flavour
    state = database.tables.accounts[account]
    plugin = state.plugin if keep_old else password_plugin(state, database.tables)
    if keep_old and is_missing(plugin, database.tables):
        raise UsageError(
            f"The old password of {account} works no more: the server has no plugin {plugin}.",
            remedy="Set a new one without --keep-old.",
        )
    sql = statements.set_password(
        account, flavour, password, plugin=plugin, unlock=False, keep_old=keep_old
    )
    detail = "the old one works until --discard-old" if keep_old else ""
    return SqlStep(action="change password", target=str(account), detail=detail, statements=(sql,))


def _other_ways(database: Database, accounts: Sequence[Account]) -> Iterator[str]:
    """What a new password puts an end to: another way in, or another form of it."""
    for account in accounts:
        state = database.tables.accounts[account]
        plugin = password_plugin(state, database.tables)
        ways = [state.plugin, *(way for way, _ in state.other_auth)]
        before = [way for way in ways if way not in ("", plugin)]
        if before:
            yield (
                f"{account} logs in by {plugin} from now on, and no longer by {' or '.join(before)}"
            )


def _discard_step(account: Account) -> SqlStep:
    return SqlStep(
        action="discard old password", target=str(account),
        statements=(statements.discard_old_password(account),),
    )  # fmt: skip
