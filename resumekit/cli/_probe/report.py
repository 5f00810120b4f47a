"""``resumekit doctor --probe``: whom to ask and by which right, what is asked, what was found, and the policy that fits."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from resumekit.cli._probe.finding import Finding
from resumekit.cli._probe.link import Ended, NoAnswer, NotApplicable, Service
from resumekit.cli._probe.questions import LEFT_OUT, QUESTIONS, Question
from resumekit.cli._progress import working
from resumekit.core.failures import Verdict
from resumekit.core.policy import Policy
from resumekit.errors import ConfigurationError
from resumekit.wire import redact

if TYPE_CHECKING:
    import argparse

__all__ = ["Outcome", "ask", "choose", "fitting_policy", "policy_code", "run", "service_from_environment", "status_of"]

_MODELS = {False: "gemini-2.5-flash-native-audio-preview-12-2025", True: "gemini-live-2.5-flash-native-audio"}
"""On the Developer API, and on Vertex."""
_PATHS = {
    False: "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    True: "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
}
_HOSTS = {"global": "https://aiplatform.googleapis.com"} | {
    region: f"https://aiplatform.{region}.rep.googleapis.com" for region in ("us", "eu")
}
"""Of Vertex, where the name of the location does not make it."""
_SHORTEST_KEY = 8
_NO_KEY = (
    "the probe needs a key: set GOOGLE_API_KEY or GEMINI_API_KEY, or, for Vertex, GOOGLE_GENAI_USE_VERTEXAI=true with "
    "GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION; nothing was sent"
)


@dataclass
class Outcome:
    """What came of one question."""

    question: str
    findings: list[Finding] = field(default_factory=list[Finding])
    problem: str = ""
    """Why it, or the rest of it, has no answer."""
    skipped: str = ""
    """Why there was nothing to ask."""


def run(arguments: argparse.Namespace) -> int:
    """Say what is going to be done, ask whether to, do it, and report.

    Returns:
        0 if all is as assumed, 1 if something differs, 3 if nothing differs, but a question has no answer.

    Raises:
        ConfigurationError: There is no key, or nobody to ask, or an argument makes no sense. Nothing was sent.
    """
    if arguments.targets:
        raise ConfigurationError("--probe asks the service, and takes no TARGET")
    questions = choose(arguments.only, is_long=arguments.long)
    if not arguments.yes and not sys.stdin.isatty():
        raise ConfigurationError("the probe asks before it spends anything, and here is no terminal: add --yes")
    if arguments.policy is not None:
        _check_writable(arguments.policy)
    service = asyncio.run(service_from_environment(arguments.model))
    out = sys.stderr if arguments.json else sys.stdout

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    say(_plan(service, questions))
    if not arguments.yes:
        print("Go on? [y/N] ", end="", file=out, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise ConfigurationError("not asked; nothing was sent")
    outcomes = asyncio.run(ask(service, questions, say))
    code = policy_code(service, outcomes)
    if arguments.policy is not None:
        arguments.policy.write_text(code, encoding="utf-8")
    elif not arguments.json:
        say(f"\nThe policy that fits:\n\n{code}".rstrip())
    if arguments.json:
        fields = {name: value for name, (value, _) in fitting_policy(outcomes).items()}
        print(json.dumps({"questions": [asdict(one) for one in outcomes], "policy": fields}, indent=2))
    return status_of(outcomes)


def choose(only: str | None, *, is_long: bool) -> list[Question]:
    """Return the questions that were chosen by name, or all, without the long ones if they are not wanted.

    Raises:
        ConfigurationError: There is no question of such a name.
    """
    if only is None:
        return [question for question in QUESTIONS if is_long or not question.is_long]
    known = {question.name: question for question in QUESTIONS}
    names = only.split(",")
    for name in names:
        if name not in known:
            raise ConfigurationError(f"--only: there is no question {name!r}; there are {', '.join(known)}")
    return [question for question in QUESTIONS if question.name in names]


def _check_writable(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        raise ConfigurationError(f"cannot write the policy: {error}") from error


# ---------------------------------------------------------------------- the service


async def service_from_environment(model: str | None) -> Service:
    """Return the service that the environment variables of google-genai name, with its key or token.

    Raises:
        ConfigurationError: There is none.
    """
    env = os.environ
    key = (env.get("GOOGLE_API_KEY") or env.get("GEMINI_API_KEY") or "").strip()
    vertex = env.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower() in {"true", "1"}
    project, location = env.get("GOOGLE_CLOUD_PROJECT", ""), env.get("GOOGLE_CLOUD_LOCATION", "")
    name = model or _MODELS[vertex]
    if vertex and project and location:
        base = _HOSTS.get(location, f"https://{location}-aiplatform.googleapis.com")
        headers = {"Authorization": f"Bearer {await asyncio.to_thread(_token)}"}
        path = name if "/" in name else f"publishers/google/models/{name}"
        name = path if path.startswith("projects/") else f"projects/{project}/locations/{location}/{path}"
    elif not key:
        raise ConfigurationError(_NO_KEY)
    else:
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError("the key has characters that no key has; nothing was sent")
        headers = {"x-goog-api-key": key}
        if vertex:
            base = "https://aiplatform.googleapis.com"
            name = name if "/" in name else f"publishers/google/models/{name}"
        else:
            base = "https://generativelanguage.googleapis.com"
            name = name if "/" in name else f"models/{name}"
    base = (env.get("GOOGLE_VERTEX_BASE_URL" if vertex else "GOOGLE_GEMINI_BASE_URL") or base).rstrip("/")
    if not base.startswith(("https://", "http://")):
        raise ConfigurationError("the base URL of the service has to begin with https://")
    return Service(f"ws{base.removeprefix('http')}{_PATHS[vertex]}", headers, name, vertex)


def _token() -> str:
    """Return a token of the account that is signed in.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        import google.auth
        from google.auth.transport.requests import Request

        auth = cast("Any", google.auth)
        credentials, _ = auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials.refresh(cast("Any", Request)())
    except Exception as error:  # noqa: BLE001 -- whatever google-auth has to say, and whatever is not installed
        problem = redact(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"no token of Google Cloud: {problem}; nothing was sent") from None
    return str(credentials.token)


# ---------------------------------------------------------------------- asking


async def ask(service: Service, questions: Sequence[Question], say: Callable[[str], None]) -> list[Outcome]:
    """Ask one question after the other, and tell each answer as soon as it is there."""
    outcomes: list[Outcome] = []
    refusal = ""
    for number, question in enumerate(questions, 1):
        outcome = Outcome(question.name, problem=refusal)
        place = f"{number} of {len(questions)}, {question.name} (up to {question.seconds} s)"
        if not refusal:
            try:
                with working(place):
                    async with aclosing(question.ask(service)) as findings:
                        async for finding in findings:
                            outcome.findings.append(_cleaned(finding, service))
            except NotApplicable as error:
                outcome.skipped = str(error)
            except NoAnswer as error:
                outcome.problem = _clean(f"no answer: {error}", service)
                is_fatal = isinstance(error, Ended) and error.verdict(with_handle=False) is Verdict.FATAL
                if is_fatal and not service.was_bound:
                    refusal = "not asked: the service refuses this key, model or setup"
        outcomes.append(outcome)
        if not outcome.skipped:
            say("\n" + _told(question, outcome))
    say("\n" + _summary(outcomes))
    return outcomes


def _clean(text: str, service: Service) -> str:
    """Return a text of one line, without secrets, whatever the service has put into it."""
    for secret in (value.removeprefix("Bearer ") for value in service.headers.values()):
        text = text.replace(secret, "[redacted]") if len(secret) >= _SHORTEST_KEY else text
    return " ".join(redact("".join(c if c.isprintable() else " " for c in text)).split())


def _cleaned(finding: Finding, service: Service) -> Finding:
    return Finding(finding.assumed, finding.used, _clean(finding.found, service), finding.fits, finding.policy)


def status_of(outcomes: Sequence[Outcome]) -> int:
    """Return the exit status."""
    if any(not finding.fits for one in outcomes for finding in one.findings):
        return 1
    return 3 if any(one.problem for one in outcomes) else 0


# ---------------------------------------------------------------------- telling


def _plan(service: Service, questions: Sequence[Question]) -> str:
    answers = sum(question.answers for question in questions)
    minutes = -(-sum(question.seconds for question in questions) // 60)
    count = f"{len(questions)} question{'s' * (len(questions) != 1)}"
    return (
        f"This asks the Live API at {urlsplit(service.uri).hostname} ({_kind(service)}), with the credentials of the\n"
        f"environment, {count} about its protocol: some {4 * len(questions)} connections, one or two at a\n"
        f"time, and at most {answers} spoken answers of {service.model}.\n"
        f"It takes up to {minutes} min and costs a few cents. What it sends is made up; nothing of yours is."
    )


def _kind(service: Service) -> str:
    return "Vertex" if service.vertex else "Developer API"


def _told(question: Question, outcome: Outcome) -> str:
    lines = [f"{question.name}: {question.about}"]
    for finding in outcome.findings:
        lines.append(f"  {'ok' if finding.fits else 'DIFFERS':<7}  {finding.assumed}: {finding.found}")
        if not finding.fits:
            lines.append(f"           used in: {finding.used}")
    if outcome.problem:
        lines.append(f"  ?        {outcome.problem}")
    return "\n".join(lines)


def _summary(outcomes: Sequence[Outcome]) -> str:
    findings = [finding for one in outcomes for finding in one.findings]
    differing = [finding for finding in findings if not finding.fits]
    unanswered = [one.question for one in outcomes if one.problem]
    asked = {one.question: one.skipped for one in outcomes}
    left_out = {
        question.about: asked.get(question.name) or _why_left_out(question)
        for question in QUESTIONS
        if asked.get(question.name, "chosen by nobody")
    }
    lines = [f"{len(findings) - len(differing)} of {len(findings)} assumptions hold; {len(differing)} differ."]
    if unanswered:
        lines.append(f"Without a full answer: {', '.join(unanswered)}.")
    lines += ["", "Not asked:", *(f"  {what}: {why}" for what, why in (left_out | LEFT_OUT).items())]
    return "\n".join(lines)


def _why_left_out(question: Question) -> str:
    """Return why a question was not asked."""
    how = f"takes up to {question.seconds // 60} minutes; add --long" if question.is_long else "was not chosen"
    return f"{how} ({question.name})"


def fitting_policy(outcomes: Sequence[Outcome]) -> dict[str, tuple[object, Finding]]:
    """Return the fields of `Policy` that fit what was found, each with the finding that asks for it."""
    fields: dict[str, tuple[object, Finding]] = {}
    for finding in (finding for one in outcomes for finding in one.findings):
        for name, value in finding.policy.items():
            other = fields[name][0] if name in fields else None
            if isinstance(other, float) and isinstance(value, float) and value < other:
                continue  # two findings about one time: the longer one is for both
            fields[name] = (value, finding)
    given = {name: value for name, (value, _) in fields.items()}
    Policy(**given)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- to see that they go together
    return fields


def policy_code(service: Service, outcomes: Sequence[Outcome]) -> str:
    """Return the policy as Python."""
    lines = [
        "# Measured by `resumekit doctor --probe`; the fields that are not here fit as they are.",
        f"# {service.model}, {_kind(service)}",
        "import resumekit",
        "",
        "policy = resumekit.Policy(",
    ]
    said = None
    for name, (value, finding) in fitting_policy(outcomes).items():
        if finding is not said:
            lines.append(f"    # {finding.assumed}: {finding.found}")
        said = finding
        shown = f'"{value}"' if isinstance(value, str) else repr(value)
        lines.append(f"    {name}={shown},")
    if said is None:
        lines[-1] += ")"
        return "\n".join(lines) + "\n"
    return "\n".join([*lines, ")"]) + "\n"
