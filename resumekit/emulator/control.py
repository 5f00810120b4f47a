"""The child's side of `EmulatorProcess`: JSON lines on stdin and stdout.

The first line in is the configuration, the first line out says where the server listens. After that each line in is
a request ``{"id": …, "do": …}``, each line out its answer ``{"id": …, "ok": …}`` or ``{"id": …, "error": …}``. The end
of stdin, which is also the death of the parent, ends the process.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any, cast

import msgspec

from resumekit.emulator.faults import Fault
from resumekit.emulator.frames import JsonObject, as_list, as_object
from resumekit.emulator.server import LiveServer
from resumekit.errors import ResumekitError

__all__ = ["control"]


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=2**26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(message: JsonObject) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _faults(values: object) -> list[Fault]:
    return [msgspec.convert(value, Fault) for value in as_list(values)]


def _answer(server: LiveServer, request: JsonObject) -> object:
    match request.get("do"):
        case "report":
            expected = [str(text) for text in as_list(request.get("expected"))]
            return server.ledger.report(expected).as_dict()
        case "connections":
            return [record.as_dict() for record in server.connections]
        case "events":
            return [msgspec.to_builtins(event) for event in server.events]
        case "audio":
            return base64.b64encode(server.ledger.audio()).decode()
        case "raw":
            number = cast("int", request.get("connection"))
            return [base64.b64encode(data).decode() for data in server.ledger.raw(number)]
        case "sent_on":
            return server.ledger.sent_on(cast("int", request.get("connection")))
        case "inject":
            for fault in _faults(request.get("faults")):
                server.inject(fault)
            return None
        case other:
            raise ResumekitError(f"unknown request {other!r}")


async def control() -> int:
    """Serve until stdin ends; returns the exit status."""
    reader = await _lines()
    try:
        config = cast("dict[str, Any]", json.loads(await reader.readline()))
        faults = _faults(config.pop("faults", []))
        server = LiveServer(faults=faults, **config)
    except (ResumekitError, ValueError, TypeError) as error:
        _say({"error": str(error)})
        return 2
    async with server:
        pem = await asyncio.to_thread(Path(server.ca_file).read_text)
        _say({"host": server.host, "port": server.port, "ca": pem})
        while line := await reader.readline():
            request = as_object(json.loads(line))
            try:
                _say({"id": request.get("id"), "ok": _answer(server, request)})
            except (ResumekitError, LookupError, ValueError, TypeError) as error:
                _say({"id": request.get("id"), "error": f"{type(error).__name__}: {error}"})
    return 0
