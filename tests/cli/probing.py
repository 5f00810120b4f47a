"""The probe against the emulator, both in one loop whose clock jumps: sockets are real, waiting takes no time."""

from __future__ import annotations

from pathlib import Path

from resumekit.cli._probe import report
from resumekit.cli._probe.link import Service
from resumekit.cli._probe.questions import QUESTIONS
from resumekit.emulator import LiveServer
from tests.emulator.helpers import PATHS
from tests.emulator.jumping import run

KEY = "Canary.0123456789-abcdefghijk"
"""Of no shape that would give it away."""
HEADERS = {
    "developer": lambda key: {"x-goog-api-key": key},
    "vertex": lambda key: {"Authorization": f"Bearer {key}"},
}
MODELS = {
    "developer": "models/gemini-2.5-flash-live",
    "vertex": "projects/p/locations/l/publishers/google/models/gemini-live-2.5",
}


class Probed:
    """What the probe found out, and what it printed."""

    def __init__(self, service, outcomes, told, server):
        self.service = service
        self.outcomes = outcomes
        self.told = told
        self.server = server


def probe(names=None, *, key="any-key", **settings):
    """Probe an emulator that is set so."""
    profile = settings.setdefault("profile", "developer")
    questions = [one for one in QUESTIONS if names is None or one.name in names.split(",")]
    told = []

    async def main():
        async with LiveServer(**{"model": "auto", "connection_age": None, **settings}) as server:
            service = Service(
                f"wss://{server.host}:{server.port}{PATHS[profile]}",
                HEADERS[profile](key),
                MODELS[profile],
                profile == "vertex",
                {"ssl": server.client_ssl_context()},
            )
            return Probed(service, await report.ask(service, questions, told.append), told, server)

    probed = run(main())
    probed.told = "\n".join(told)
    return probed


EXAMPLE = Path(__file__).parents[2] / "docs" / "reference" / "probe-example.txt"
"""Made by `python -m tests.cli.probing`."""


def example():
    """Return what the command prints, for the page of the documentation."""
    names = ",".join(question.name for question in QUESTIONS if not question.is_long)
    other_answers = {"handle_delay": 2.8, "index_base": 0, "keepalive": 20, "tool_turns": "split"}
    probed = probe(names, profile="vertex", **other_answers)
    plan = report._plan(probed.service, report.choose(None, is_long=False))
    code = report.policy_code(probed.service, probed.outcomes)
    return f"{plan}\n{probed.told}\n\nThe policy that fits:\n\n{code}"


if __name__ == "__main__":
    EXAMPLE.write_text(example(), "utf-8")
