"""What the filter around ADK's connection shows, with media that comes as bytes and as messages."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from google.adk.models.llm_response import LlmResponse
from google.genai import types

from resumekit import errors
from resumekit.adapters import _adk_connection as adk
from resumekit.wire import Cut, decode_server

MEDIA = b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm","data":"AAAA"}}]}}}'
SOUND = LlmResponse(content=types.Content(parts=[types.Part(inline_data=types.Blob(data=b"\0\0\0"))]))
WORDS = LlmResponse(content=types.Content(role="model", parts=[types.Part(text="words")]))


def heard(text, **fields):
    return LlmResponse(input_transcription=types.Transcription(text=text, **fields))


def said(text, **fields):
    return LlmResponse(output_transcription=types.Transcription(text=text, **fields))


class Driver:
    """The frames of a session."""

    def __init__(self, frames):
        self.frames = frames

    def take_frame(self):
        return self.frames.pop(0) if self.frames else None

    def more(self):
        raise errors.SessionClosed("closed")


class Inner:
    """An ADK that makes of each frame what it is told to."""

    def __init__(self, session, responses):
        self.session = session
        self.responses = responses

    async def receive(self):
        while True:
            await self.session._receive()
            for response in self.responses.pop(0):
                yield response


async def shown(*talk, as_bytes):
    """Return what the application is shown of (frame, what becomes of it, responses of ADK)."""
    frames = []
    for frame, cut, _ in talk:
        message = decode_server(frame)
        message.cut = cut
        frames.append(frame if as_bytes and frame is MEDIA else message)
    account = SimpleNamespace(api_client=SimpleNamespace(vertexai=False), is_vertex=False)
    session = adk.Session(account, Driver(frames), decode_server(b'{"setupComplete":{}}'))
    inner = Inner(session, [responses for _, _, responses in talk])
    connection = adk.Connection(inner, session, model="m", history="drop")
    found = []
    with contextlib.suppress(errors.SessionClosed):
        async for response in connection.receive():
            found.append(response)  # noqa: PERF401 -- what came before the end counts
    return found


TRANSCRIPTION = b'{"serverContent":{"outputTranscription":{"text":"b"}}}'


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_sound_is_shown_as_it_comes(as_bytes):
    talk = [(MEDIA, None, [SOUND]), (MEDIA, None, [SOUND])]
    assert await shown(*talk, as_bytes=as_bytes) == [SOUND, SOUND]


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_a_transcription_that_was_held_goes_before_sound(as_bytes):
    whole = said("b", finished=True)
    talk = [(TRANSCRIPTION, None, [whole]), (MEDIA, None, [SOUND]), (MEDIA, None, [SOUND])]
    assert await shown(*talk, as_bytes=as_bytes) == [whole, SOUND, SOUND]


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_a_question_from_before_the_cut_goes_before_what_is_stored_of_its_answer(as_bytes):
    talk = [(TRANSCRIPTION, Cut.REANSWERED, [heard("a")]), (MEDIA, None, [WORDS, SOUND]), (MEDIA, None, [SOUND])]
    question, *answer = await shown(*talk, as_bytes=as_bytes)
    assert question.input_transcription == types.Transcription(text="a", finished=True)
    assert answer == [WORDS, SOUND, SOUND]


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_a_call_that_was_cancelled_is_not_shown_with_sound(as_bytes):
    call = LlmResponse(content=types.Content(parts=[types.Part(function_call=types.FunctionCall(id="1", name="f"))]))
    talk = [(b'{"toolCallCancellation":{"ids":["1"]}}', None, []), (MEDIA, None, [call, SOUND])]
    assert await shown(*talk, as_bytes=as_bytes) == [SOUND]
