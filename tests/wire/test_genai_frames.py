"""What the real google-genai client writes is classified right: every `send_*` method, both backends, any version."""

from __future__ import annotations

import importlib.util
import warnings

import pytest

from resumekit.wire import (
    ClientKind,
    FunctionResponse,
    HistoryTurn,
    ResumptionHandle,
    bind_setup,
    decode_client,
    setup_compression_trigger,
    setup_fingerprint,
    setup_handle,
    setup_manual_activity,
    setup_model,
    setup_seeds_history,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("google") is None or importlib.util.find_spec("google.genai") is None,
    reason="google-genai is not installed in this environment",
)

AUDIO = {"data": b"\xff\xef" * 1600, "mime_type": "audio/pcm;rate=16000"}


class Recorder:
    """The connection under an `AsyncSession`: keeps what is sent."""

    def __init__(self):
        self.frames = []

    async def send(self, frame):
        self.frames.append(frame)


@pytest.fixture(params=["developer", "vertex"])
def session(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import google.auth.credentials
        from google import genai
        from google.genai.live import AsyncSession
    if request.param == "vertex":
        client = genai.Client(
            vertexai=True,
            project="p",
            location="us-central1",
            credentials=google.auth.credentials.AnonymousCredentials(),
        )
    else:
        client = genai.Client(api_key="k")
    return AsyncSession(api_client=client._api_client, websocket=Recorder())


def sent(session, method, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `send` is deprecated; ADK uses it
        with pytest.raises(StopIteration):  # nothing in it suspends: no loop is needed
            getattr(session, method)(**arguments).send(None)
    [frame] = session._ws.frames
    assert isinstance(frame, str)
    message = decode_client(frame)
    assert message.frame is frame
    assert message.size == len(frame.encode())
    return message


def test_client_content(session):
    turns = [
        {"role": "user", "parts": [{"text": "a"}, {"inline_data": {"data": b"\xff", "mime_type": "image/png"}}]},
        {"role": "model", "parts": [{"text": "é"}]},
    ]
    message = sent(session, "send_client_content", turns=turns)
    assert message.kind is ClientKind.CONTENT
    assert message.turn_complete is True
    assert message.turns == (HistoryTurn("user", "a", True), HistoryTurn("model", "é"))


@pytest.mark.parametrize("complete", [True, False])
def test_client_content_without_turns(session, complete):
    message = sent(session, "send_client_content", turn_complete=complete)
    assert (message.kind, message.turn_complete, message.turns) == (ClientKind.CONTENT, complete, ())


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("audio", AUDIO, ClientKind.AUDIO),
        ("media", AUDIO, ClientKind.AUDIO),
        ("media", {"data": b"\xff", "mime_type": "image/jpeg"}, ClientKind.VIDEO),
        ("video", {"data": b"\xff", "mime_type": "image/jpeg"}, ClientKind.VIDEO),
        ("text", "hello", ClientKind.TEXT),
        ("audio_stream_end", True, ClientKind.AUDIO_STREAM_END),
        ("activity_start", {}, ClientKind.ACTIVITY_START),
        ("activity_end", {}, ClientKind.ACTIVITY_END),
    ],
    ids=["audio", "audio media", "image media", "video", "text", "stream end", "activity start", "activity end"],
)
def test_realtime_input(session, name, value, kind):
    message = sent(session, "send_realtime_input", **{name: value})
    assert message.kind is kind
    assert message.media_seconds == (pytest.approx(0.1) if kind is ClientKind.AUDIO else 0)
    assert message.text == ("hello" if kind is ClientKind.TEXT else None)


def test_tool_response(session):
    from google.genai import types

    response = types.FunctionResponse(id="1", name="f", response={"a_b": 1}, will_continue=True, scheduling="SILENT")
    message = sent(
        session, "send_tool_response", function_responses=[response, {"id": "2", "name": "g", "response": {}}]
    )
    assert message.kind is ClientKind.TOOL_RESPONSE
    assert message.responses == (
        FunctionResponse("1", "f", {"a_b": 1}, will_continue=True, scheduling="SILENT"),
        FunctionResponse("2", "g", {}),
    )


def test_context_update(session):
    if not hasattr(session, "send_context_update"):
        pytest.skip("this google-genai has no send_context_update")
    assert sent(session, "send_context_update", system_instruction="x").kind is ClientKind.OTHER


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda types: "hello", ClientKind.CONTENT),
        (lambda types: None, ClientKind.CONTENT),
        (lambda types: types.LiveClientContent(turns=[types.Content(role="user")]), ClientKind.CONTENT),
        (lambda types: AUDIO, ClientKind.AUDIO),
        (lambda types: types.LiveClientRealtimeInput(media_chunks=[types.Blob(**AUDIO)]), ClientKind.AUDIO),
        (lambda types: types.FunctionResponse(id="1", name="f", response={"a": 1}), ClientKind.TOOL_RESPONSE),
        (
            lambda types: types.LiveClientToolResponse(
                function_responses=[types.FunctionResponse(id="1", name="f", response={"a": 1})]
            ),
            ClientKind.TOOL_RESPONSE,
        ),
    ],
    ids=["text", "nothing", "content", "blob", "realtime input", "function response", "tool response"],
)
def test_deprecated_send(session, build, kind):
    from google.genai import types

    message = sent(session, "send", input=build(types), end_of_turn=True)
    assert message.kind is kind
    if kind is ClientKind.AUDIO:
        assert message.media_seconds == pytest.approx(0.1)
    if kind is ClientKind.TOOL_RESPONSE:
        assert message.responses == (FunctionResponse("1", "f", {"a": 1}),)


class Dial:
    """Stands in for `websockets.connect`: a connection that has completed its setup."""

    def __init__(self):
        self.recorder = Recorder()
        self.recorder.recv = self.recv

    async def recv(self, **_):
        return b'{"setupComplete":{}}'

    async def __aenter__(self):
        return self.recorder

    async def __aexit__(self, *_):
        pass


def test_setup(monkeypatch):
    """The setup frame of the Developer API, with all that the engine reads of it."""
    from google import genai
    from google.genai import live

    dial = Dial()
    monkeypatch.setattr(live, "ws_connect", lambda *_, **__: dial)
    config = {
        "response_modalities": ["AUDIO"],
        "system_instruction": "be brief",
        "session_resumption": {"handle": "mine"},
        "realtime_input_config": {"automatic_activity_detection": {"disabled": True}},
        "context_window_compression": {"trigger_tokens": 25600, "sliding_window": {"target_tokens": 12800}},
    }
    if seeds := "history_config" in genai.types.LiveConnectConfig.model_fields:
        config["history_config"] = {"initial_history_in_client_content": True}
    connecting = genai.Client(api_key="k").aio.live.connect(model="gemini-live", config=config)
    with pytest.raises(StopIteration):
        connecting.__aenter__().send(None)
    [frame] = dial.recorder.frames
    assert decode_client(frame).kind is ClientKind.SETUP
    assert setup_model(frame) == "models/gemini-live"
    assert setup_handle(frame) == ResumptionHandle("mine")
    assert setup_manual_activity(frame)
    assert setup_compression_trigger(frame) == 25600
    assert setup_seeds_history(frame) is seeds
    bound = bind_setup(frame, handle=None, resumption=True, transparent=False, initial_history=False)
    assert decode_client(bound).kind is ClientKind.SETUP
    assert setup_handle(bound) is None
    assert not setup_seeds_history(bound)
    assert setup_fingerprint(bound) == setup_fingerprint(frame)
