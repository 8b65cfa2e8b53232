"""What Globus refuses, in sentences with a remedy and an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mapadmin.core.errors import ExitCode, MapadminError, SettingsError, UnreachableError

if TYPE_CHECKING:
    from globus_sdk import GlobusAPIError

LOGIN = "mapadmin globus login"
_BUSY = (429, 500, 503, 504)


class OfflineError(MapadminError):
    """No answer at all: nothing else will work, either."""

    default_exit_code = ExitCode.UNREACHABLE


class ConsentError(SettingsError):
    """One collection wants a consent that nobody gave yet; others may work."""


class MissingError(MapadminError):
    """There is no such thing."""


class NoCollectionError(MapadminError):
    """There is no collection of that id: nothing is known about any path on it."""

    default_exit_code = ExitCode.SETTINGS


class NotFolderError(MapadminError):
    """A folder was wanted, and this is a file."""


class DeniedError(MapadminError):
    """This login may not do that."""


def explain(error: GlobusAPIError, what: str) -> MapadminError:
    """An answer of Transfer or Auth that is an error; `what` was asked about."""
    code, status = str(error.code or ""), error.http_status
    text = " ".join(str(error.message or error.text or code).split()).rstrip(".")[:300]
    if code == "ConsentRequired":
        return _consent(error, what)
    if status == 401:
        return SettingsError("The login to Globus is not valid any more.", remedy=f"Run: {LOGIN}")
    if code.endswith("NotDirectory"):
        return NotFolderError(f"{what} is a file, not a folder.")
    if status in _BUSY or code.endswith("Disconnected"):
        return UnreachableError(f"{what}: {text} ({status} {code}).")
    for kind, fits, words in (
        (NoCollectionError, code == "EndpointNotFound", "Globus has no such collection (any more)"),
        (MissingError, status == 404 or code.endswith("NotFound"), "there is no such thing"),
        (DeniedError, status == 403, "this login may not do that"),
    ):
        if fits:
            return kind(f"{what}: {words} ({text}).")
    return MapadminError(f"{what}: {text} ({status} {code}).")


def _consent(error: GlobusAPIError, what: str) -> MapadminError:
    required = error.info.consent_required
    wanted = " ".join(required.required_scopes or []) if required else ""
    collection = wanted.partition("/scopes/")[2].partition("/")[0]
    return ConsentError(
        f"{what}: Globus wants your consent before mapadmin may use this collection.",
        remedy=f"Run: {LOGIN} --consent {collection or what.partition(':')[0]}",
    )


def offline(error: Exception) -> OfflineError:
    """The SDK's NetworkError in a sentence."""
    cause = getattr(error, "underlying_exception", None) or error
    text = " ".join(str(cause).split())
    if "Errno" in text:
        text = text.rpartition("] ")[2].strip("')(\" ")
    return OfflineError(f"Globus cannot be reached: {text[:200]}.")


def refused_login(error: Any, *, by_secret: bool) -> MapadminError:
    """Globus Auth's refusal to give a token."""
    if error.http_status in _BUSY:
        return UnreachableError(f"Globus Auth does not answer ({error.http_status}).")
    if by_secret:
        return SettingsError(
            "Globus refuses the application's id or secret.",
            remedy="Check globus.client_id and globus.client_secret.",
        )
    return SettingsError("The login to Globus is not valid any more.", remedy=f"Run: {LOGIN}")
