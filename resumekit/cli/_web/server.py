"""The web server of the demo: one page, and a WebSocket for each browser that shows it; for this machine alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, Response

from resumekit.cli._timeline.drawing import STYLE
from resumekit.cli._web.conversation import Browser, Conversation
from resumekit.cli._web.cuts import CUTS
from resumekit.cli._web.service import Service

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Demo", "Opened", "Server"]

_PAGE = Path(__file__).parent / "page"
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_NAME = re.compile(r"[0-9a-f]{32}")
_MOST = 12
"""Conversations at once; a new one ends one that no browser shows."""
_ALONE = 120.0
"""Seconds that a conversation goes on without a browser."""
_LARGEST = 64 * 1024
"""Bytes of a message from a browser."""
_TRY_AGAIN_LATER = 1013

Opened = Callable[[], AbstractAsyncContextManager[Service]]
"""Gives a conversation what it talks to."""


class Demo:
    """All conversations. Enter it, and serve its `app`."""

    def __init__(self, opened: Opened, *, model: str, is_emulated: bool) -> None:
        self._opened = opened
        self._conversations: dict[str, Conversation] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begun: dict[str, asyncio.Event] = {}
        self._lonely: dict[str, asyncio.TimerHandle] = {}
        self._folder = Path()
        self._files = _files(_page(model, is_emulated=is_emulated))
        app = FastAPI(openapi_url=None)
        app.websocket("/talk/{name}")(self._talk)
        app.get("/{path:path}")(self._file)
        self.app: ASGIApp = LocalOnly(app)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Let conversations be held; leaving ends them all."""
        with tempfile.TemporaryDirectory(prefix="resumekit-web-") as folder:
            self._folder = Path(folder)
            try:
                yield
            finally:
                for timer in self._lonely.values():
                    timer.cancel()
                for task in self._tasks.values():
                    task.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # --- conversations ------------------------------------------------------------------------------------------------

    async def _conversation(self, name: str) -> Conversation | None:
        """Return a conversation, begun if it is new; None if there are too many."""
        while name not in self._tasks:
            if len(self._tasks) >= _MOST:
                if not await self._make_room():
                    return None
                continue
            self._begun[name] = asyncio.Event()
            self._tasks[name] = task = asyncio.create_task(self._hold(name, self._begun[name]))
            task.add_done_callback(lambda _: self._is_over(name))
        begins = asyncio.create_task(self._begun[name].wait())
        await asyncio.wait({begins, self._tasks[name]}, return_when=asyncio.FIRST_COMPLETED)
        begins.cancel()
        return self._conversations.get(name)

    async def _hold(self, name: str, begun: asyncio.Event) -> None:
        folder = self._folder / name
        await asyncio.to_thread(folder.mkdir, mode=0o700, exist_ok=True)  # it may have been ended, and come again
        try:
            async with self._opened() as service:
                self._conversations[name] = conversation = Conversation(name, service, folder)
                begun.set()
                await conversation.run()
        finally:
            self._conversations.pop(name, None)

    async def _make_room(self) -> bool:
        """End the conversation that has been without a browser for the longest time, if there is one."""
        longest = next(iter(self._lonely), None)
        if longest is None:
            return False
        self._lonely[longest].cancel()
        task = self._tasks[longest]
        self._end(longest)
        await asyncio.wait({task})
        return True

    def _is_over(self, name: str) -> None:
        del self._tasks[name], self._begun[name]

    def _end(self, name: str) -> None:
        self._lonely.pop(name, None)
        if (task := self._tasks.get(name)) is not None:
            task.cancel()

    # --- browsers -----------------------------------------------------------------------------------------------------

    async def _talk(self, socket: WebSocket, name: str) -> None:
        await socket.accept()
        conversation = await self._conversation(name) if _NAME.fullmatch(name) else None
        if conversation is None:
            await socket.close(_TRY_AGAIN_LATER, "there are too many conversations")
            return
        if (timer := self._lonely.pop(name, None)) is not None:
            timer.cancel()
        browser = Browser()
        conversation.attach(browser)
        directions = {asyncio.create_task(_receive(socket, conversation)), asyncio.create_task(_send(socket, browser))}
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            conversation.detach(browser)
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            if not conversation.browsers and name in self._tasks and name not in self._lonely:
                self._lonely[name] = asyncio.get_running_loop().call_later(_ALONE, self._end, name)

    async def _file(self, path: str) -> Response:
        found = self._files.get(path)
        if found is None:
            return PlainTextResponse("There is no such page.\n", status_code=404)
        return Response(found[1], media_type=found[0])


async def _receive(socket: WebSocket, conversation: Conversation) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (audio := message.get("bytes")) is not None:
                conversation.hear(audio)
            else:
                with contextlib.suppress(ValueError):
                    conversation.take(json.loads(message.get("text") or ""))


async def _send(socket: WebSocket, browser: Browser) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # RuntimeError: the socket has just been closed
        while (message := await browser.next()) is not None:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_text(json.dumps(message))
        await socket.close(_TRY_AGAIN_LATER, "this page is too far behind")


# --- the page -------------------------------------------------------------------------------------------------------------


def _files(page: str) -> dict[str, tuple[str, bytes]]:
    """Return type and content of everything that is served, by path."""
    files = {path.name: (_TYPES[path.suffix], path.read_bytes()) for path in _PAGE.iterdir() if path.suffix in _TYPES}
    return {**files, "": ("text/html", page.encode()), "drawing.css": ("text/css", STYLE.encode())}


def _page(model: str, *, is_emulated: bool) -> str:
    groups: list[str] = []
    for name, cuts in groupby(CUTS, key=lambda cut: cut.group):
        buttons = "\n".join(
            f'<button type="button" class="cut" data-cut="{cut.name}" title="{escape(cut.words)}"'
            f' aria-describedby="about-{cut.name}">{escape(cut.label)}</button>'
            f'<span class="hidden" id="about-{cut.name}">{escape(cut.words)}</span>'
            for cut in cuts
        )
        groups.append(f'<fieldset><legend>{escape(name)}</legend><div class="cuts">{buttons}</div></fieldset>')
    return (
        (_PAGE / "page.html")
        .read_text("utf-8")
        .replace("<!-- cuts -->", "\n".join(groups))
        .replace("{model}", escape(model))
        .replace("{kind}", "emulated" if is_emulated else "real")
    )


# --- who may come in ------------------------------------------------------------------------------------------------------


class LocalOnly:
    """Lets in what a browser of this machine was pointed to by its user.

    The name that was asked for has to be this machine's own, so that no other name can be made to lead here (DNS
    rebinding); a WebSocket, which a page from anywhere may open, has to come from the page of this server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, list[bytes]] = {}
        for header, value in scope["headers"]:
            headers.setdefault(header.lower(), []).append(value)
        port = (scope.get("server") or ("", 0))[1]
        own = [f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")]
        hosts, origins = headers.get(b"host", []), headers.get(b"origin", [])
        is_local = len(hosts) == 1 and hosts[0] in own
        if scope["type"] == "websocket":
            is_local = is_local and origins == [b"http://" + hosts[0]]
        if not is_local:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it is accepted: HTTP 403
            else:
                await PlainTextResponse("This page is served to its own machine only.\n", 403)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_headers(hosts[0])]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _headers(host: bytes) -> list[tuple[bytes, bytes]]:
    policy = (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws://"
        + host
        + b"; img-src 'self'"
        b" data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"microphone=(self), camera=(), geolocation=()"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]


# --- serving --------------------------------------------------------------------------------------------------------------


class Server(uvicorn.Server):
    """Serves a `Demo` on a socket; whoever runs it minds the signals."""

    def __init__(self, demo: Demo) -> None:
        config = uvicorn.Config(
            demo.app,
            log_level="critical",
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=_LARGEST,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def serve_on(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        serving = asyncio.create_task(self.serve([listener]))
        stops = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stops}, return_when=asyncio.FIRST_COMPLETED)
        self.should_exit = True
        stops.cancel()
        await serving
