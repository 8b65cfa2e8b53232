"""The one way to AWS: credentials, clients shared among threads, errors in our own words."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from mapadmin.aws import calls
from mapadmin.aws.calls import Call
from mapadmin.aws.faults import translate
from mapadmin.aws.models import make_loader
from mapadmin.core.errors import SettingsError
from mapadmin.site import Site, expand

if TYPE_CHECKING:
    from mapadmin.admin import Admin

_DEFAULT_REGION = "us-east-1"
RECORDED = "x-mapadmin-recorded"  # a header: the sandbox's emulator did not compute this answer
_T = TypeVar("_T")


class Options(msgspec.Struct, frozen=True):
    """`--profile` and `--region` of `mapadmin aws`."""

    profile: str = ""
    region: str = ""


class Identity(msgspec.Struct, frozen=True):
    """Who AWS takes us for."""

    account: str
    arn: str


class Once(Generic[_T]):
    """A question that is asked once, by whichever thread comes first; errors are kept as well."""

    def __init__(self, ask: Callable[[], _T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._kept: list[_T] = []
        self._error: Exception | None = None

    def __call__(self) -> _T:
        with self._lock:
            if self._error is not None:
                raise self._error
            if not self._kept:
                try:
                    self._kept.append(self._ask())
                except Exception as error:
                    self._error = error
                    raise
            return self._kept[0]


class Aws:
    """The site's AWS account. Safe to use from several threads."""

    def __init__(self, site: Site, options: Options) -> None:
        self.settings = site.aws
        self._site = site
        self._options = options
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self.identity: Once[Identity] = Once(self._ask_identity)
        self._recorded: set[str] = set()

    # --- where and who --------------------------------------------------------------------------

    @property
    def profile(self) -> str | None:
        return (
            self._options.profile or self.settings.profile or os.environ.get("AWS_PROFILE") or None
        )

    @property
    def region(self) -> str:
        """The first that is set, as documented at `AwsSettings.region`."""
        given = self._options.region or self.settings.region or os.environ.get("AWS_DEFAULT_REGION")
        return given or self._guard(lambda: self._session.get_config_variable("region")) or (
            _DEFAULT_REGION
        )  # fmt: skip

    @property
    def elsewhere(self) -> list[str]:
        """Endpoints that somebody has redirected; everything must say so that shows answers."""
        if self.settings.endpoint:
            return [self.settings.endpoint]
        return sorted({v for k, v in os.environ.items() if k.startswith("AWS_ENDPOINT_URL") and v})

    def require_account(self) -> Identity:
        """Who we are; SettingsError when that is in another account than the site's."""
        identity = self.identity()
        if identity.account != self.settings.account:
            raise SettingsError(
                f"These credentials are of the AWS account {identity.account} ({identity.arn}), "
                f"and the site's is {self.settings.account}.",
                remedy="Use the site's profile: mapadmin aws --profile NAME …",
            )
        return identity

    def _ask_identity(self) -> Identity:
        answer = self.call(calls.IDENTITY)
        return Identity(str(answer["Account"]), str(answer["Arn"]))

    # --- calls ----------------------------------------------------------------------------------

    def call(self, call: Call, *, region: str = "", **parameters: Any) -> dict[str, Any]:
        """Make one call. Raises AwsError, DeniedError, SettingsError or UnreachableError."""
        from botocore import xform_name

        client = self.client(call.service, region)
        answer: dict[str, Any] = self._guard(
            lambda: getattr(client, xform_name(call.operation))(**parameters), call
        )
        self._note(call, answer)
        return answer

    def pages(self, call: Call, key: str, **parameters: Any) -> list[dict[str, Any]]:
        """The items of all pages of a listing call; `key` is where, `EngineDefaults.Parameters`."""
        return list(self.each(call, key, **parameters))

    def each(self, call: Call, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The items of all pages, as they come."""
        from botocore import xform_name

        pages = iter(
            self.client(call.service)
            .get_paginator(xform_name(call.operation))
            .paginate(**parameters)
        )
        while True:
            page = self._guard(lambda: next(pages, None), call)
            if page is None:
                return
            self._note(call, page)
            for name in key.split("."):
                page = page.get(name, {})
            yield from page

    def recorded(self, *made: Call) -> bool:
        """Was an answer to one of these calls a recorded one of the sandbox?"""
        return any(call.operation in self._recorded for call in made)

    def _note(self, call: Call, answer: dict[str, Any]) -> None:
        if RECORDED in answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}):
            self._recorded.add(call.operation)

    def _guard(self, ask: Callable[[], Any], call: Call | None = None) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return ask()
        except (BotoCoreError, ClientError) as error:
            raise translate(error, call, self.profile) from None

    def presigner(
        self, call: Call, *, region: str = "", seconds: int = 300
    ) -> Callable[[dict[str, Any]], str]:
        """A function that signs the address of a GET: parameters -> URL, good for `seconds`."""
        from botocore import xform_name

        client, name = self.client(call.service, region), xform_name(call.operation)
        return lambda parameters: str(
            self._guard(
                lambda: client.generate_presigned_url(name, Params=parameters, ExpiresIn=seconds),
                call,
            )
        )

    def getter(
        self, call: Call, bucket: str, *, region: str = "", connections: int
    ) -> Callable[[dict[str, str]], Any]:
        """A function that GETs a bucket's own address, once: query -> answer.

        It leaves out what costs botocore milliseconds on each call. botocore resolves the address
        once, finds and renews the credentials, and signs; proxies and certificate authorities are
        those of every other call. It raises UnreachableError when there is no answer.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies, percent_encode_sequence

        address = self.presigner(call, region=region)({"Bucket": bucket}).partition("?")[0]
        credentials, where = self._guard(self._session.get_credentials), region or self.region
        verify = self._guard(lambda: self._session.get_config_variable("ca_bundle")) or True
        http = URLLib3Session(
            verify=verify, proxies=get_environ_proxies(address), timeout=30,
            max_pool_connections=connections,
        )  # fmt: skip

        def send(query: dict[str, str]) -> Any:
            request = AWSRequest("GET", f"{address}?{percent_encode_sequence(query)}")
            S3SigV4Auth(credentials.get_frozen_credentials(), "s3", where).add_auth(request)
            return http.send(request.prepare())

        return lambda query: self._guard(lambda: send(query), call)

    # --- clients --------------------------------------------------------------------------------

    def client(self, service: str, region: str = "") -> Any:
        """botocore's client, made once; making one is not thread-safe, using it is."""
        with self._lock:
            key = (service, region or self.region)
            if key not in self._clients:
                self._clients[key] = self._guard(lambda: self._make_client(*key))
            return self._clients[key]

    def _make_client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        config = Config(
            retries={"total_max_attempts": 3, "mode": "standard"}, connect_timeout=3,
            read_timeout=10, max_pool_connections=32, signature_version="s3v4",
            user_agent_extra="mapadmin",
        ) if service == "s3" else Config(
            retries={"total_max_attempts": 3, "mode": "standard"}, connect_timeout=3,
            read_timeout=10, max_pool_connections=16, user_agent_extra="mapadmin",
        )  # fmt: skip
        return self._session.create_client(
            service, region_name=region, config=config, endpoint_url=self.settings.endpoint or None
        )

    @cached_property
    def _session(self) -> Any:
        import botocore.session

        session = botocore.session.Session(profile=self.profile)
        session.lazy_register_component(
            "data_loader", lambda: make_loader(session.get_config_variable("data_path"))
        )
        if self.settings.credentials:
            path = self._site.folder / expand(self.settings.credentials, "aws.credentials")
            session.set_config_variable("credentials_file", str(path))
        return session


def open_aws(admin: Admin, options: Options | None = None) -> Aws:
    """AWS as the site file and the command line say. Raises SettingsError when it has no [aws]."""
    return Aws(admin.site, options or Options())
