"""`login`, `logout`, `whoami`."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import SettingsError, UsageError
from mapadmin.core.report import Report
from mapadmin.core.text import human_seconds
from mapadmin.globus.commands._app import app
from mapadmin.globus.refusals import LOGIN, offline, refused_login
from mapadmin.globus.session import Globus, open_globus
from mapadmin.globus.tokens import AUTH, TRANSFER, keep, scopes
from mapadmin.options import Json


@app.command("login")
def login(
    ctx: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether the login works; 3 if not.")
    ] = False,
    consent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A collection that wants a consent of its own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Log in to Globus from this machine.

    A person opens the address that is shown, in any browser, and pastes the code from there. With
    globus.client_secret in the site file the application logs in as itself, which is for cron.
    What Globus gives is kept in a file that only you can read, and renews itself.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    if not check:
        _log_in(globus, [globus.place(f"{name}:/").collection for name in consent or []])
    elif consent:
        raise UsageError("--check changes nothing, so it takes no --consent.")
    _tell(globus, as_json=as_json)


def _log_in(globus: Globus, more: list[str]) -> None:
    import globus_sdk

    kept = globus.file.load()
    wanted = [c.id for c in globus.settings.collections.values() if c.data_access]
    kept.consents = list(dict.fromkeys([*kept.consents, *wanted, *more]))
    client = globus.login_client
    try:
        if globus.secret is not None:
            answer = client.oauth2_client_credentials_tokens(requested_scopes=scopes(kept.consents))
        else:
            client.oauth2_start_flow(
                requested_scopes=scopes(kept.consents), refresh_tokens=True,
                prefill_named_grant=f"mapadmin on {_host()}",
            )  # fmt: skip
            code = _ask_code(client.oauth2_get_authorize_url())
            answer = client.oauth2_exchange_code_for_tokens(code)
    except globus_sdk.AuthAPIError as error:
        if globus.secret is None and error.http_status in (400, 401):
            raise SettingsError(
                "Globus does not accept this code: it is of another login, or was used already.",
                remedy=f"Run once more: {LOGIN}",
            ) from None
        raise refused_login(error, by_secret=True) from None
    except globus_sdk.NetworkError as error:
        raise offline(error) from None
    keep(kept, answer.by_resource_server)
    globus.file.save(kept)


def _ask_code(url: str) -> str:
    report = Report()
    report.say("Open this address in a browser, on any machine, and log in there:\n")
    report.say(f"  {url}\n")
    report.say("Paste the code that it shows: ")
    code = sys.stdin.readline().strip()
    if not code:
        raise UsageError(
            "No code was given.",
            remedy="For cron, set globus.client_secret: the application logs in as itself.",
        )
    return code


def _host() -> str:
    import os

    return os.uname().nodename


def _tell(globus: Globus, *, as_json: bool) -> None:
    """Who is logged in, asked of Globus itself."""
    info = globus.service.userinfo()
    globus.service.search("mapadmin")  # Transfer must accept its token, too
    renews = all(globus.renewer.can_refresh(server) for server in (AUTH, TRANSFER))
    until = globus.renewer.until(TRANSFER)
    left = None if until is None else max(0, round(until - time.time()))
    report = Report(as_json=as_json)
    names = [str(who["username"]) for who in info.get("identity_set", [])]
    document: dict[str, Any] = {
        "username": info.get("preferred_username"), "id": info["sub"], "name": info.get("name"),
        "email": info.get("email"), "identities": names, "application": globus.renewer.by_secret,
        "renews_itself": renews, "token_seconds": left, "consents": globus.renewer.consents(),
    }  # fmt: skip
    if as_json:
        report.document(document)
        return
    report.text(f"{document['username']}")
    kind = "the application itself" if document["application"] else document["name"] or "a person"
    lasts = "renews itself" if renews else f"lapses in {human_seconds(left)}"
    report.say(f"Logged in as {kind}; the login {lasts}.")


@app.command("whoami")
def whoami(ctx: typer.Context, as_json: Json = False) -> None:
    """Whose login this is, as Globus sees it."""
    _tell(open_globus(ctx.ensure_object(Admin)), as_json=as_json)


@app.command("logout")
def logout(ctx: typer.Context) -> None:
    """Revoke this machine's tokens and forget them.

    When Globus cannot be reached they are forgotten all the same, and that is said.
    """
    import globus_sdk

    globus = open_globus(ctx.ensure_object(Admin))
    report = Report()
    kept = globus.file.load()
    if not kept.tokens:
        globus.file.delete()
        report.say("Nobody was logged in.")
        return
    try:
        for token in kept.tokens.values():
            for value in filter(None, (token.access, token.refresh)):
                globus.login_client.oauth2_revoke_token(value)
    except (globus_sdk.NetworkError, globus_sdk.GlobusAPIError):
        report.say("Note: Globus did not take the tokens back; they lapse by themselves.")
    globus.file.delete()
    report.say("Logged out.")
