"""The HTTP side: who may ask, what may be asked, and the download of minutes.

Gradio serves more than this page needs: files by their path, a proxy, deep links, an API. Only the routes that the
page itself uses are let through, so that no visitor can ask for another's upload, wherever it lies. The page is
stripped of what Gradio would load from other hosts, and a content security policy forbids the rest.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mug.minutes.writing import FORMATS
from mug.web.sessions import Sessions

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ASKED = re.compile(
    r"/|/(?:config|theme\.css|favicon\.ico|robots\.txt)|/(?:assets|static|svelte)/.*"
    r"|/gradio_api/(?:upload|upload_progress|run/predict|queue/join|queue/data|heartbeat/\w+|cancel|reset|app_id|info)/?"
    r"|/gradio_api/startup-events|/download/[\w-]+/\w+"
)
_OUTSIDE = re.compile(
    rb"""<link\b[^>]*?href="(?:https?://|/manifest)[^>]*>|<script\b[^>]*?src="https?://[^>]*>\s*</script>|<meta\b[^>]*https?://[^>]*>"""
)
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_TYPES = {
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "json": "application/json",
}


def application(sessions: Sessions) -> FastAPI:
    """Return an application with the download of a session's minutes; the page is mounted on it."""

    def download(token: str, ending: str, lang: str = "zh") -> Response:
        session = sessions.get(token)
        if session is None or session.minutes is None or ending not in FORMATS:
            return PlainTextResponse("纪要已不在，请重新生成。/ These minutes are gone; make them again.\n", 404)
        content = FORMATS[ending](session.minutes, "en" if lang == "en" else "zh")
        name = quote(f"{file_stem(session.minutes.source)}.{ending}", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", "Cache-Control": "no-store"}
        return Response(content, media_type=_TYPES[ending], headers=headers)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/download/{token}/{ending}", download)
    return app


def file_stem(source: str) -> str:
    """Return the name of the minutes' file without its ending.

    >>> file_stem("周会 3/7.vtt"), file_stem("")
    ('周会 3_7-minutes', 'minutes')
    """
    stem = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", source.rsplit(".", 1)[0]).strip(". ")[:80]
    return f"{stem}-minutes" if stem else "minutes"


class Guard:
    """Stands before the application and lets through what belongs to the page.

    ``password`` is (user, password), None for none: every request must carry it then. ``hosts`` are the names that
    the server may be called by, None for any: another name on this machine's own address is a page elsewhere that
    had its name pointed here. ``most`` is the greatest body of a request, in bytes.
    """

    def __init__(
        self, app: ASGIApp, password: tuple[str, str] | None, hosts: tuple[str, ...] | None, most: int
    ) -> None:
        self.app, self.hosts, self.most = app, hosts, most
        self._expected = base64.b64encode(":".join(password).encode()) if password else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        try:
            if scope["path"] == "/":
                await self._page(scope, receive, send)
            else:
                await self.app(scope, self._bounded(receive), _hardened(send))
        except asyncio.CancelledError:  # the server ends within an answer: no stack trace is worth printing
            return

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return PlainTextResponse("This server answers to its local name only.\n", 421)
        if self._expected is not None and not self._may_enter(headers.get("authorization", "")):
            ask = {"WWW-Authenticate": 'Basic realm="minutes", charset="UTF-8"'}
            return PlainTextResponse("需要用户名和密码。/ User name and password, please.\n", 401, ask)
        if not _ASKED.fullmatch(scope["path"]):
            return PlainTextResponse("Not found\n", 404)
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if scope["method"] != "POST" or (origin is not None and urlsplit(origin).netloc != host):
                return PlainTextResponse("Only this page may send.\n", 403)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.most:
            return PlainTextResponse(f"Over {self.most} bytes\n", 413)
        return None

    def _may_enter(self, authorization: str) -> bool:
        kind, _, given = authorization.partition(" ")
        assert self._expected is not None
        return kind.lower() == "basic" and hmac.compare_digest(given.strip().encode(), self._expected)

    def _bounded(self, receive: Receive) -> Receive:
        """Count a body that came without its length, and end it as if its sender had gone when it is too long."""
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return {"type": "http.disconnect"} if got > self.most else message

        return counted

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the page without what it would load from elsewhere."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: dict[str, Any] = {}
        body = bytearray()

        async def rewritten(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                page = _OUTSIDE.sub(b"", bytes(body))
                MutableHeaders(scope=start)["Content-Length"] = str(len(page))
                await _hardened(send)(start)
                await send({"type": "http.response.body", "body": page if scope["method"] == "GET" else b""})

        await self.app({**scope, "headers": headers}, self._bounded(receive), rewritten)


def _hardened(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = _POLICY
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "same-origin"
        await send(message)

    return with_headers


def _name(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    return (urlsplit(f"//{host}").hostname or "") if host.isprintable() and "/" not in host else ""
