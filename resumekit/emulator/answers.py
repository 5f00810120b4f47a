"""What the emulated model says: always the same for the same state, and made so that a test can check it.

An answer names the questions that it answers and counts the user's turns that the state holds, so that a right, a
merged and an amnesiac answer look different. A question can carry directives: ``[tool:name {"json": "args"}]`` and
``[then:…]`` (a call in the next step, so after the responses to the one before), ``[search:query]`` and ``[code:source]``
(where the setup has the built-in tool), ``[think:40]``, ``[chunks:12]``, ``[seconds:15]``, ``[silent]``, ``[recall]``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, cast

from resumekit.emulator.conversation import Call
from resumekit.emulator.frames import as_object

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from resumekit.emulator.conversation import Conversation
    from resumekit.emulator.settings import Reissue, ToolPosition

__all__ = [
    "Answer",
    "Beat",
    "Directives",
    "Issue",
    "Look",
    "Say",
    "answer_text",
    "directives",
    "parse_answer",
    "plan",
    "plan_steps",
    "split_text",
]

_ONE_MOMENT = "; one moment"
_TOOL = re.compile(r"\[(tool|then):([\w.-]+)\s*")
_BUILT_IN = re.compile(r"\[(search|code):([^\]]*)\]")
_NUMBER = re.compile(r"\[(think|chunks|seconds):([\d.]+)\]")
_ANSWER = re.compile(r"answer to (?P<asked>.*): (?P<turns>\d+) user turns held(?P<rest>$|; .*$)", re.DOTALL)
_RESULTS = re.compile(r"; results: (.*?)(?=; recall: |$)", re.DOTALL)
_REISSUES: list[Reissue] = ["same", "other_args", "none", "reversed", "subset", "extra"]
_RECALL = re.compile(r"; recall: (.*?)(?=; results: |$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Say:
    """Something that the model says."""

    text: str


@dataclass(frozen=True, slots=True)
class Issue:
    """Calls that the model makes, all before any response."""

    calls: list[Call]


@dataclass(frozen=True, slots=True)
class Look:
    """Use of a built-in tool: source code that is run, or a search that the answer is grounded in."""

    tool: Literal["search", "code"]
    text: str


Beat: TypeAlias = Say | Issue | Look


class Directives(NamedTuple):
    """What the directives in a question ask for."""

    steps: list[list[Call]]
    think: float
    chunks: int | None
    seconds: float | None
    silent: bool
    recall: bool
    looks: list[Look]


class Answer(NamedTuple):
    """An answer, read."""

    asked: str
    """The questions, joined with ``" + "`` where the model merged them."""
    turns_held: int
    results: str
    recall: list[str]
    is_whole: bool = True
    """Nothing more is to come after a tool's response."""


def directives(question: str) -> Directives:
    """Read the directives of a question."""
    steps: list[list[Call]] = []
    for match in _TOOL.finditer(question):
        args: object = {}
        if question[match.end() : match.end() + 1] == "{":
            try:
                args, _ = json.JSONDecoder().raw_decode(question, match.end())
            except json.JSONDecodeError:
                args = {}
        call = Call(match.group(2), as_object(args))
        if match.group(1) == "then" or not steps:
            steps.append([call])
        else:
            steps[-1].append(call)
    numbers = {name: float(value) for name, value in _NUMBER.findall(question)}
    return Directives(
        steps,
        numbers.get("think", 0.0),
        int(numbers["chunks"]) if "chunks" in numbers else None,
        numbers.get("seconds"),
        "[silent]" in question,
        "[recall]" in question,
        [Look(cast("Literal['search', 'code']", tool), text) for tool, text in _BUILT_IN.findall(question)],
    )


def answer_text(conversation: Conversation) -> str:
    """Return the answer to everything that is unanswered in a state."""
    questions = conversation.unanswered
    text = f"answer to {' + '.join(questions)}: {len(conversation.user_turns)} user turns held"
    if conversation.results:
        text += f"; results: {', '.join(conversation.results)}"
    if any(directives(question).recall for question in questions):
        text += f"; recall: {' | '.join(conversation.user_turns)}"
    return text


def parse_answer(text: str) -> Answer | None:
    """Read what `answer_text` wrote; None for anything else, as for part of an answer."""
    match = _ANSWER.search(text)
    if match is None:
        return None
    results, recall = _RESULTS.search(match["rest"]), _RECALL.search(match["rest"])
    is_whole = results is not None or not match["rest"].endswith(_ONE_MOMENT)
    return Answer(
        match["asked"],
        int(match["turns"]),
        results.group(1) if results else "",
        recall.group(1).removesuffix(_ONE_MOMENT).split(" | ") if recall else [],
        is_whole,
    )


def plan_steps(question: str, reissue: Reissue, draw: random.Random) -> list[list[Call]]:
    """Return the steps of calls that a question needs.

    Args:
        reissue: ``"same"`` where the model meets the question for the first time.
        draw: For ``"any"`` and ``"subset"``.
    """
    steps = directives(question).steps
    if reissue == "any":
        reissue = draw.choice(_REISSUES)
    match reissue:
        case "none":
            return []
        case "reversed":
            return [step[::-1] for step in steps]
        case "other_args":
            return [[Call(call.name, {**call.args, "again": True}) for call in step] for step in steps]
        case "extra":
            return [[*step, Call("extra_tool", {})] for step in steps]
        case "subset":
            return [_subset(step, draw) for step in steps]
        case _:
            return steps


def _subset(step: list[Call], draw: random.Random) -> list[Call]:
    """Leave out at least one of several calls."""
    kept = draw.sample(range(len(step)), draw.randrange(1, max(len(step), 2)))
    return [step[n] for n in sorted(kept)]


def plan(conversation: Conversation, position: ToolPosition, *, continuing: bool) -> list[Beat]:
    """Return what the model does next; ends with an `Issue`, or with the end of its turn.

    Args:
        position: Where in the answer the calls come.
        continuing: The responses of the last step have just come, on a turn that goes on.
    """
    remaining = conversation.steps[conversation.steps_done :]
    answer = answer_text(conversation)
    if not remaining:
        if continuing and position == "end":
            return [Say(f"; results: {', '.join(conversation.results)}")] if conversation.results else []
        looks = [look for question in conversation.unanswered for look in directives(question).looks]
        return [
            *(look for look in looks if look.tool == "code"),
            Say(answer),
            *(look for look in looks if look.tool == "search"),
        ]
    issue = Issue(remaining[0])
    if continuing or position == "before":
        return [issue]
    if position == "amid":
        return [Say("let me look that up; "), issue]
    return [Say(answer + _ONE_MOMENT), issue]


def split_text(text: str, chunks: int) -> list[str]:
    """Split a text into so many pieces, between words where there are enough of them."""
    words = re.findall(r"\s*\S+", text)
    units: Sequence[str] = words if len(words) >= chunks and "".join(words) == text else text
    count = max(1, min(chunks, len(units)))
    edges = [len(units) * n // count for n in range(count + 1)]
    return ["".join(units[start:end]) for start, end in pairwise(edges)]
