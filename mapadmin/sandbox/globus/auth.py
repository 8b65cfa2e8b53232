"""Globus Auth: logins, tokens, identities."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
import time
from urllib.parse import parse_qsl

from mapadmin.sandbox.globus.answers import Answer, ApiError, Json, Request
from mapadmin.sandbox.globus.faults import TOKEN_SECONDS
from mapadmin.sandbox.globus.world import World

AUTH = "auth.globus.org"
TRANSFER = "transfer.api.globus.org"
_CONSENT = re.compile(r"scopes/([0-9a-f-]{36})/data_access")


class AuthApi:
    """Handlers below /v2."""

    def __init__(self, world: World) -> None:
        self.world = world

    def authorize(self, request: Request) -> Answer:
        """The page behind the login address: it shows the code that the person pastes.

        `user` in the address logs in as somebody else than the operator.
        """
        who = self.world.identity(request.query.get("user", self.world.config.operator))
        if who is None:
            raise ApiError(400, "invalid_request", "there is no such user")
        code = secrets.token_hex(15)
        with self.world.lock:
            self.world.state.codes[code] = {
                "identity": who.id, "scope": request.query.get("scope", ""),
                "challenge": request.query.get("code_challenge", ""),
                "client": request.query.get("client_id", ""),
            }  # fmt: skip
            self.world.save()
        text = f"<h1>Native App Authorization Code</h1><code>{html.escape(code)}</code>"
        return Answer({}, html=text)

    def token(self, request: Request) -> Answer:
        """client_credentials, authorization_code and refresh_token."""
        form = dict(parse_qsl(request.body.decode()))
        grant = form.get("grant_type", "")
        client = self._client(request, form)
        with self.world.lock:
            if grant == "client_credentials":
                return Answer(self._issue(client, form.get("scope", ""), refresh=False))
            if grant == "authorization_code":
                return self._exchange(form, client)
            if grant == "refresh_token":
                kept = self.world.state.refresh.get(form.get("refresh_token", ""))
                if kept is None or kept["client"] != client:
                    raise ApiError(400, "invalid_grant", "the refresh token is not valid")
                return Answer(self._one(str(kept["identity"]), str(kept["scope"])))
        raise ApiError(400, "unsupported_grant_type", "unsupported_grant_type")

    def _exchange(self, form: dict[str, str], client: str) -> Answer:
        kept = self.world.state.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if kept is None or kept["client"] != client or proof != kept["challenge"].rstrip("="):
            raise ApiError(400, "invalid_grant", "the authorization code is not valid")
        return Answer(self._issue(str(kept["identity"]), str(kept["scope"]), refresh=client))

    def _client(self, request: Request, form: dict[str, str]) -> str:
        """Who asks: a client with its secret, or an app without any, which cannot act by itself."""
        kind, _, coded = request.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            client, _, secret = base64.b64decode(coded).decode().partition(":")
            if not self.world.knows_secret(client, secret):
                raise ApiError(401, "invalid_client", "invalid_client")
            return client
        if form.get("grant_type") == "client_credentials" or not form.get("client_id"):
            raise ApiError(401, "invalid_client", "invalid_client")
        return form["client_id"]

    def _issue(self, identity: str, scope: str, *, refresh: str | bool) -> Json:
        """One token for each service that the scopes belong to, the first with the others in it."""
        consents = self.world.state.consents.setdefault(identity, [])
        consents.extend(found for found in _CONSENT.findall(scope) if found not in consents)
        plain = re.sub(r"\[.*?\](?=\s|$)", "", scope).split()
        servers: dict[str, list[str]] = {}
        for name in plain:
            servers.setdefault(TRANSFER if TRANSFER in name else AUTH, []).append(name)
        tokens = [
            self._one(identity, " ".join(names), str(refresh) if refresh else "")
            for names in servers.values()
        ] or [self._one(identity, "openid")]  # fmt: skip
        return {**tokens[0], "other_tokens": tokens[1:]}

    def _one(self, identity: str, scope: str, refresh_for: str = "") -> Json:
        seconds = int(self.world.faults.setting("token_seconds", TOKEN_SECONDS))
        token = secrets.token_urlsafe(32)
        server = TRANSFER if TRANSFER in scope else AUTH
        now = time.time()
        self.world.state.tokens[token] = {
            "identity": identity, "server": server, "given": now, "expires": now + seconds,
        }  # fmt: skip
        answer: Json = {
            "access_token": token, "scope": scope, "expires_in": seconds, "token_type": "Bearer",
            "resource_server": server, "other_tokens": [],
        }  # fmt: skip
        if refresh_for:
            answer["refresh_token"] = secrets.token_urlsafe(32)
            self.world.state.refresh[answer["refresh_token"]] = {
                "identity": identity, "scope": scope, "client": refresh_for,
            }  # fmt: skip
        self.world.save()
        return answer

    def caller(self, request: Request, server: str) -> str:
        """The identity of a request's token. Raises ApiError (401)."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        with self.world.lock:
            kept = self.world.state.tokens.get(token) if kind == "Bearer" else None
        given = float(self.world.faults.setting("expired_before", 0.0))
        if (
            kept is None or kept["server"] != server or kept["expires"] < time.time()
            or kept["given"] < given
        ):  # fmt: skip
            raise ApiError(401, "AuthenticationFailed", "Token is not active")
        return str(kept["identity"])

    def userinfo(self, request: Request) -> Answer:
        """Who a token of Auth belongs to."""
        who = self.world.identity(self.caller(request, AUTH))
        if who is None:
            raise ApiError(403, "FORBIDDEN", "Forbidden")
        return Answer(
            {"sub": who.id, "preferred_username": who.username, "name": who.name,
             "email": who.username, "last_authentication": None, "identity_set": [
                 {"sub": who.id, "username": who.username, "name": who.name,
                  "email": who.username, "last_authentication": None}]}
        )  # fmt: skip

    def identities(self, request: Request) -> Answer:
        """By `ids` or `usernames`; those that are not known are left out."""
        keys = request.query.get("ids", request.query.get("usernames", "")).split(",")
        found = [who for key in keys if (who := self.world.identity(key.strip()))]
        return Answer(
            {"identities": [
                {"id": who.id, "username": who.username, "name": who.name, "email": who.username,
                 "organization": "sandbox", "status": "used", "identity_provider": who.id}
                for who in found
            ]}
        )  # fmt: skip

    def revoke(self, request: Request) -> Answer:
        """Forget a token; one that is unknown is as good as revoked."""
        token = dict(parse_qsl(request.body.decode())).get("token", "")
        with self.world.lock:
            self.world.state.tokens.pop(token, None)
            self.world.state.refresh.pop(token, None)
            self.world.save()
        return Answer({"active": False})
