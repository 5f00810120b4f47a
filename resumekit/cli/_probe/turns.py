"""Questions about turns: cut, overlapping, with tools."""

from __future__ import annotations

from resumekit.cli._probe.finding import HELLO, LATE, LONG, QUIET, WORDS, Finding, Findings, in_seconds, longer, unless
from resumekit.cli._probe.link import POLICY, TOOL, Ended, Frame, Line, NoAnswer, Service, bound, now
from resumekit.core.setup import family_of

__all__ = ["cut_answer", "overlap", "tool_turns", "unknown_call"]

_CALL = f"[tool:{TOOL}] Call the function {TOOL}, then tell me the weather."


async def cut_answer(service: Service) -> Findings:
    """Cut an answer, resume from the newest handle, and listen."""
    async with bound(service) as line:
        await line.ask(HELLO)
        handle = await line.handle()
        await line.say(LONG)
        for _ in range(8):
            await line.wait(lambda frame: frame.speaks, LATE, "waiting for the answer")
        handle = line.newest_handle or handle
        line.abort()
    async with bound(service, handle) as line:
        frames = await line.listen(QUIET)
        if line.failure is not None:
            raise Ended(line.failure, "after a cut answer was resumed")
    # A transcription is part of an answer where the sound comes, too.
    spoken = sum(frame.speaks for frame in frames)
    repeated = 0 if spoken else sum(frame.transcribes for frame in frames)
    yield Finding(
        "after a resume nothing of an answer that was cut comes by itself",
        "a cut question is sent again, and its answer begins anew; RULES 4",
        f"{spoken} frames of speech came" if spoken else "nothing came",
        spoken == 0,
    )
    yield Finding(
        "no transcription is sent again after a resume",
        "Stats.transcriptions_suppressed",
        f"{repeated} frames of it came" if repeated else "none came",
        repeated == 0,
    )


async def overlap(service: Service) -> Findings:
    """Ask again before the answer begins, and while it is given."""
    async with bound(service) as line:
        await line.say(f"{LONG} Then say {WORDS[0]}.")
        await line.wait(lambda frame: frame.speaks, LATE, "waiting for the answer")
        mid_answer = await _second_question(line)
    async with bound(service) as line:
        await line.say(f"Say {WORDS[0]}.")
        at_once = await _second_question(line, mark=0)
    yield Finding(
        "two questions get two turns, whenever the second one comes",
        "RULES 7; decisions: known limits, merged questions",
        f"in mid-answer {_told(mid_answer)}; at once {_told(at_once)}",
        _turns(mid_answer) >= 2 and _turns(at_once) >= 2,
    )


async def _second_question(line: Line, mark: int | None = None) -> list[Frame]:
    first = line.mark if mark is None else mark
    await line.say(f"Say {WORDS[1]}.")
    line.mark = first
    await line.turn()
    while any(frame.completes or frame.speaks for frame in await line.listen(QUIET)):
        pass
    if line.failure is not None:
        raise Ended(line.failure, "asking twice")
    return line.frames[first:]


def _turns(frames: list[Frame]) -> int:
    return sum(frame.completes for frame in frames)


def _told(frames: list[Frame]) -> str:
    how = "the first is interrupted" if any(frame.interrupted for frame in frames) else "nothing is interrupted"
    count = _turns(frames)
    return f"{how}, {count} turn{'s' * (count != 1)}"


async def tool_turns(service: Service) -> Findings:
    """Look where turns end when the model calls a tool."""
    splits = family_of(service.model).splits_turns
    async with bound(service) as line:
        await line.say(_CALL)
        call_id = await _call(line)
        early = any(frame.completes for frame in await line.listen(3.0))
        await line.respond(call_id)
        began = now()
        first = await line.wait(lambda frame: frame.completes or frame.speaks, LATE, "after a tool response")
        is_split = early or first.completes
        if first.completes and not early:
            first = await line.wait(lambda frame: frame.speaks, LATE, "waiting for an answer to a tool response")
        delay = first.at - began
    where = "the call ends a turn" if early else "the response ends a turn" if is_split else "it is one turn"
    yield Finding(
        f"this model answers a tool response in {'a turn of its own' if splits else 'the turn of its call'}",
        "Policy.tool_turns; decisions: a turn may have parts",
        where,
        is_split == splits,
        unless(is_split == splits, tool_turns="split" if is_split else "joined"),
    )
    fits = delay <= POLICY.part_wait or not is_split
    yield Finding(
        f"the answer to a tool response begins within {POLICY.part_wait:g} s",
        "Policy.part_wait",
        f"after {in_seconds(delay)}",
        fits,
        unless(fits, part_wait=longer(delay, 1.5)),
    )


async def _call(line: Line) -> str | None:
    """Return the id of the call that comes next."""
    frame = await line.wait(
        lambda frame: frame.completes or frame.message.tool_call is not None, LATE, "waiting for a call"
    )
    calls = frame.message.tool_call and frame.message.tool_call.function_calls
    if not calls:
        raise NoAnswer("the model did not call its function")
    return calls[0].id


async def unknown_call(service: Service) -> Findings:
    """Send the response to a call that the resumed state does not know."""
    async with bound(service) as line:
        await line.ask(HELLO)
        handle = await line.handle()
        await line.say(_CALL)
        call_id = await _call(line)
    async with bound(service, handle) as line:
        await line.respond(call_id)
        frames = await line.listen(QUIET)
        failure = line.failure
    found = str(failure) if failure is not None else f"not closed; {len(frames)} frames came"
    yield Finding(
        "a tool response whose call is not known ends the connection with 1008",
        "RULES 8 and 12; 1008 'Requested entity was not found.'",
        found,
        failure is not None and failure.code == 1008 and failure.reason.lower().startswith("requested entity"),
    )
