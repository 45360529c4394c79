"""Who may talk to the app, and how much: names of the host, origins, the token, sizes of bodies, headers of answers.

A page of another site can make the browser send requests here. It is kept out threefold: the Host must be a name of
this machine (else its name was bent to our address), an Origin must be our own, and where the app listens beyond this
machine every request must bring a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
from collections.abc import Sequence
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monosema.server.errors import reply

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_BODY = 2**20
"""Bytes of a request's body at most."""
LONGEST_WAIT = 30.0
"""Seconds that a body may take between two of its parts."""
COOKIE = "monosema_token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """Middleware that answers what may not pass, and adds the headers that keep a page to this machine."""

    def __init__(self, app: ASGIApp, token: str | None = None, hosts: Sequence[str] = ()) -> None:
        """
        Args:
            token: what every request must bring, as a bearer, as a cookie, or as `?token=` of a page; None for nothing.
            hosts: further names that the app may be called by.
        """
        self.app, self.token = app, token
        self.hosts = {*LOOPBACK, *hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        body = _Body(receive, headers, scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope, headers)
        if refused is not None:
            await refused(scope, receive, guarded)
            return
        if body.refused is None:

            async def answer(message: Message) -> None:
                if body.refused is None:  # else the app's own answer to a body that it could not read is held back
                    await guarded(message)

            with contextlib.suppress(_RefusedBodyError):
                await self.app(scope, body.receive, answer)
        if body.refused is not None:
            await body.refused(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            said = f"This server is not called {host[:80]!r}. Open the address that it printed."
            return reply(said, 403, Request(scope))
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return reply("A page of another site may not use this server.", 403, Request(scope))
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return reply("A page of another site may not use this server.", 403, Request(scope))
        return None if self.token is None else self._unknown(scope, headers, self.token)

    def _is_ours(self, host: str) -> bool:
        """Return True for a name of this machine. An address of numbers can't be bent, so beyond loopback all are."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.token is not None

    def _unknown(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """Return the answer to a request without the token; one that has it in its address gets it as a cookie."""
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        brought = headers.get("authorization", "").removeprefix("Bearer "), cookie.value if cookie else ""
        if any(_equal(one, token) for one in brought):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if any(name == "token" and _equal(value, token) for name, value in query):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            answer = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return answer
        return reply(
            "This server wants its token. Open the address that it printed, with ?token=.", 401, Request(scope)
        )


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _too_large(scope: Scope) -> Response:
    said = f"The request is too large: its body may have {LARGEST_BODY:,} bytes at most."
    return reply(said, 413, Request(scope))


class _RefusedBodyError(Exception):
    """The body may not be read further."""


class _Body:
    """The body of a request, counted and timed as it comes.

    Attributes:
        refused: the answer to a body that has too many bytes, or comes too slowly; None for another.
    """

    def __init__(self, receive: Receive, headers: Headers, scope: Scope) -> None:
        self._receive, self._scope = receive, scope
        self._bytes = 0
        self._whole = False
        length = headers.get("content-length", "0")
        too_large = not length.isdigit() or int(length[:20]) > LARGEST_BODY
        self.refused: Response | None = _too_large(scope) if too_large else None

    async def receive(self) -> Message:
        """Return the next part; raises within the app where the body is refused."""
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), LONGEST_WAIT)
        except TimeoutError:
            self.refused = reply("The request’s body did not come in time.", 408, Request(self._scope))
            raise _RefusedBodyError from None
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._bytes > LARGEST_BODY:
            self.refused = _too_large(self._scope)
            raise _RefusedBodyError
        return message
