"""`resumekit demo --web`: put together and run."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import warnings
import webbrowser
from typing import TYPE_CHECKING

from resumekit.cli._ports import why_not
from resumekit.cli._web.server import Demo, Server
from resumekit.cli._web.service import Emulated, Real
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    from resumekit.cli._web.server import Opened

__all__ = ["run_web"]


def run_web(*, model: str, live: bool, port: int, opens: bool, speed: float, seed: int) -> int:
    """Serve until Ctrl-C; returns the exit status.

    Args:
        opens: Open the page in a browser.

    Raises:
        ConfigurationError: There is no key, or the port is taken.
    """
    logging.getLogger("google_adk").addHandler(logging.NullHandler())  # the page tells what happens
    warnings.simplefilter("ignore")  # ADK's own
    if live:
        Real.check()
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigurationError(why_not(port, error)) from error
    opened: Opened = (
        (lambda: Real.started(model)) if live else (lambda: Emulated.started(model, speed=speed, seed=seed))
    )
    with listener:
        return asyncio.run(_serve(Demo(opened, model=model, is_emulated=not live), listener, opens=opens))


async def _serve(demo: Demo, listener: socket.socket, *, opens: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for name in signals:
        loop.add_signal_handler(name, stop.set)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    try:
        async with demo.running():
            print(f"The conversation is at {address}\nCtrl-C ends it.", flush=True)
            if opens:
                await asyncio.to_thread(webbrowser.open, address)
            await Server(demo).serve_on(listener, stop)
    finally:
        for name in signals:
            loop.remove_signal_handler(name)
    return 0
