"""What botocore raises, in the words of the command line: what is wrong, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapadmin.aws.calls import Call
from mapadmin.core.errors import ExitCode, MapadminError, SettingsError, UnreachableError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class AwsError(MapadminError):
    """AWS refused; `code` is its own word for why."""

    def __init__(
        self, message: str, *, code: str = "", remedy: str = "", exit_code: ExitCode | None = None
    ) -> None:
        super().__init__(message, remedy=remedy, exit_code=exit_code)
        self.code = code

    def means(self, *codes: str) -> bool:
        """Is it one of these? RDS writes some of them with `Fault` behind."""
        return self.code.removesuffix("Fault") in codes


class DeniedError(AwsError):
    """The identity may not make a call."""

    default_exit_code = ExitCode.SETTINGS


DENIED = {
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError",
    "AllAccessDisabled", "403", "Forbidden",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_BAD_KEYS = {
    "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure",
    "SignatureDoesNotMatch", "InvalidToken", "InvalidSignatureException", "IncompleteSignature",
    "MissingAuthenticationToken",
}  # fmt: skip
_SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}
_THROTTLED = {
    "Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "SlowDown",
    "TooManyRequestsException", "RequestThrottled", "RequestThrottledException",
    "BandwidthLimitExceeded", "LimitExceededException", "EC2ThrottledException", "429",
}  # fmt: skip
# By name, because most of them are of versions and extras of botocore that may not be there.
_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError",
    "SSOError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError",
    "PendingAuthorizationExpiredError", "LoginTokenLoadError", "RefreshWithMFAUnsupportedError",
    "InvalidConfigError", "ConfigParseError", "LoginRefreshTokenExpired", "MetadataRetrievalError",
}  # fmt: skip


def sign_in(profile: str | None) -> str:
    """What to do about credentials that are missing or have ended."""
    return f"Run: aws sso login --profile {profile}" if profile else (
        "Run `aws sso login` or `aws configure`, or name a profile: mapadmin aws --profile NAME …"
    )  # fmt: skip


def translate(error: Exception, call: Call | None, profile: str | None) -> MapadminError:
    """The error that is shown for one of botocore's. Anything else comes back as it is."""
    from botocore import exceptions as known

    doing = f"{call.service} {call.operation}" if call else "AWS"
    if isinstance(error, known.ClientError):
        return _refused(error, doing, call, profile)
    if isinstance(error, known.ProfileNotFound):
        return SettingsError(
            f"AWS: {_sentence(error)}", remedy="`aws configure list-profiles` lists them."
        )
    if type(error).__name__ in _CREDENTIALS:
        return SettingsError(f"AWS: {_sentence(error)}", remedy=sign_in(profile))
    if isinstance(error, known.ConnectionError | known.HTTPClientError):
        return UnreachableError(
            f"{doing}: {_sentence(error)}",
            remedy="Check the network, the region, and AWS_ENDPOINT_URL.",
        )
    return AwsError(f"{doing}: {_sentence(error)}", code=type(error).__name__)


def _refused(
    error: ClientError, doing: str, call: Call | None, profile: str | None
) -> MapadminError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    said = str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _SKEWED | _EXPIRED | _BAD_KEYS:
        return _not_accepted(code, said, profile)
    if code in DENIED or status == 403:
        action = call.actions[0] if call else doing
        return DeniedError(
            f"denied: {action} is not allowed to this identity.", code=code,
            remedy="`mapadmin aws policy` prints what mapadmin needs.",
        )  # fmt: skip
    if code in _THROTTLED or status == 429:
        return AwsError(
            f"{doing}: AWS asks to slow down ({code}), also after several tries.", code=code,
            remedy="Run it again in some minutes.", exit_code=ExitCode.UNREACHABLE,
        )  # fmt: skip
    if status >= 500:
        return UnreachableError(
            f"{doing}: AWS answered {status} ({code}), also after several tries.",
            remedy="Run it again in some minutes; https://health.aws.amazon.com tells of outages.",
        )
    if code in (
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    ):
        return SettingsError(
            f"{doing}: wrong region: {said}.", remedy="Set aws.region, or --region."
        )
    return AwsError(f"{doing}: {code}: {said}.", code=code)


def _not_accepted(code: str, said: str, profile: str | None) -> SettingsError:
    if code in _SKEWED:
        return SettingsError(
            f"AWS: this machine's clock is wrong ({code}: {said}).",
            remedy="Let it follow the network's: timedatectl set-ntp true",
        )
    what = "have expired" if code in _EXPIRED else "are not accepted"
    return SettingsError(f"AWS: the credentials {what} ({code}: {said}).", remedy=sign_in(profile))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") + "."
