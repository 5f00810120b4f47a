"""Frames of the service, made by hand in the shapes of real traffic, and frames that it should never send.

`ORDINARY` are those that a fast lane has to take by itself; what it does with `ODD` and `RAW` is its own affair, as long
as nobody can tell.
"""

from __future__ import annotations

import base64
import json
import random

AUDIO = random.Random(7).randbytes(480)
STANDARD = base64.b64encode(AUDIO).decode()
URL_SAFE = base64.urlsafe_b64encode(AUDIO).decode()
assert {"+", "/"} <= {*STANDARD}
assert {"-", "_"} <= {*URL_SAFE}
HANDLE = "58836b26-2e71-4d5a-9c7e-0a1b2c3d4e5f"


def content(**fields):
    return {"serverContent": fields}


def turn(*parts, **fields):
    return content(modelTurn={"parts": [*parts], **fields})


def audio(data=STANDARD, **fields):
    return {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data, **fields}}


def calls(*functions):
    return {"toolCall": {"functionCalls": [*functions]}}


def update(**fields):
    return {"sessionResumptionUpdate": fields}


def usage(**fields):
    return {"usageMetadata": fields}


def tokens(modality, count):
    return {"modality": modality, "tokenCount": count}


UNKNOWN = {"fresh": {"deep": [1, {"er": "x"}], "text": "y"}, "freshText": "z", "freshList": [{}, [], 0.5]}
NESTED_ARGS = {
    "city": "Zürich 🏔",
    "days": [1, 2, {"from": "now", "to": []}],
    "exact": 0.1,
    "large": 12345678901234567890123,
    "flag": True,
    "turnComplete": True,
    "camelKey": {"snake_key": {}},
    "": "no name",
}
GROUNDING = {
    "imageSearchQueries": ["alps"],
    "groundingChunks": [
        {"web": {"uri": "https://a.example/x", "title": "A", "domain": "a.example"}},
        {"image": {"sourceUri": "https://b.example", "imageUri": "https://b.example/i.png", "title": "B"}},
        {
            "maps": {
                "placeId": "p1",
                "title": "Place",
                "placeAnswerSources": {
                    "reviewSnippets": [{"authorAttribution": {"displayName": "N"}, "review": "fine", "reviewId": "r"}]
                },
                "route": {"distanceMeters": 12, "duration": "3s", "encodedPolyline": "_p~iF"},
            }
        },
        {
            "retrievedContext": {
                "documentName": "d",
                "pageNumber": 4,
                "ragChunk": {"text": "t", "pageSpan": {"firstPage": 1, "lastPage": 2}},
                "customMetadata": [{"key": "k", "numericValue": 1, "stringListValue": {"values": ["a", "b"]}}],
            }
        },
    ],
    "groundingSupports": [
        {
            "segment": {"startIndex": 0, "endIndex": 12, "partIndex": 0, "text": "snow"},
            "groundingChunkIndices": [0, 2],
            "confidenceScores": [0.5, 1],
        }
    ],
    "retrievalMetadata": {"googleSearchDynamicRetrievalScore": 0.25},
    "searchEntryPoint": {"renderedContent": "<div>x</div>", "sdkBlob": STANDARD},
    "webSearchQueries": ["snow today", "wetter"],
}
USAGE = {
    "promptTokenCount": 1045,
    "cachedContentTokenCount": 12,
    "toolUsePromptTokenCount": 3,
    "thoughtsTokenCount": 61,
    "totalTokenCount": 1187,
    "promptTokensDetails": [tokens("TEXT", 900), tokens("AUDIO", 145)],
    "cacheTokensDetails": [tokens("TEXT", 12)],
    "toolUsePromptTokensDetails": [tokens("TEXT", 3)],
    "trafficType": "ON_DEMAND",
}
DEVELOPER_USAGE = {**USAGE, "responseTokenCount": 81, "responseTokensDetails": [tokens("AUDIO", 81)]}
VERTEX_USAGE = {**USAGE, "candidatesTokenCount": 81, "candidatesTokensDetails": [tokens("AUDIO", 81)]}
EVERYTHING = {
    "setupComplete": {"sessionId": "s-1", "voiceConsentSignature": {"signature": "sig"}},
    "serverContent": {
        "modelTurn": {
            "role": "model",
            "parts": [
                {"text": "**Weighing**", "thought": True, "thoughtSignature": URL_SAFE},
                audio(displayName="out.pcm"),
                {"executableCode": {"id": "e1", "code": "print(1)", "language": "PYTHON"}},
                {"codeExecutionResult": {"id": "e1", "outcome": "OUTCOME_OK", "output": "1\n"}},
                {"functionCall": {"id": "f1", "name": "look", "args": NESTED_ARGS, "willContinue": True}},
                {
                    "functionResponse": {
                        "id": "f1",
                        "name": "look",
                        "response": {"output": {"ok": True}},
                        "scheduling": "WHEN_IDLE",
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": STANDARD}}],
                    }
                },
                {"fileData": {"fileUri": "gs://b/o", "mimeType": "video/mp4", "displayName": "o"}},
                {"videoMetadata": {"startOffset": "1s", "endOffset": "2.5s", "fps": 24}},
            ],
        },
        "groundingMetadata": GROUNDING,
        "urlContextMetadata": {
            "urlMetadata": [{"retrievedUrl": "https://c.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}]
        },
        "inputTranscription": {"text": " Hello", "finished": False, "languageCode": "de-CH"},
        "interimInputTranscription": {"text": " Hel"},
        "outputTranscription": {"text": " recorded", "words": [{"word": "recorded", "startOffset": "0.4s"}]},
        "generationComplete": True,
        "interrupted": False,
        "turnComplete": True,
        "turnCompleteReason": "RESPONSE_REJECTED",
        "waitingForInput": True,
        "interactionStatus": "IDLE",
    },
    "toolCall": {
        "functionCalls": [
            {"id": "c1", "name": "weather", "args": NESTED_ARGS},
            {"id": "c2", "name": "time", "args": {}, "willContinue": False},
        ]
    },
    "toolCallCancellation": {"ids": ["c1", "c2"]},
    "usageMetadata": {**DEVELOPER_USAGE, **VERTEX_USAGE},
    "goAway": {"timeLeft": "50s"},
    "sessionResumptionUpdate": {"newHandle": HANDLE, "resumable": True, "lastConsumedClientMessageIndex": "17"},
    "voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_SOS"},
    "voiceActivity": {"type": "ACTIVITY_START", "voiceActivityType": "ACTIVITY_END", "audioOffset": "0.250s"},
}

ORDINARY = {
    # each kind of message after the other
    "setup": {"setupComplete": {}},
    "setup of vertex": {"setupComplete": {"sessionId": "df14c3dc-0000-4000-8000-000000000000"}},
    "setup with a signature": {"setupComplete": {"sessionId": "s", "voiceConsentSignature": {"signature": "x"}}},
    "update": update(newHandle=HANDLE, resumable=True, lastConsumedClientMessageIndex="123456789"),
    "update, index as a number": update(newHandle=HANDLE, resumable=True, lastConsumedClientMessageIndex=123456789),
    "update, largest index": update(newHandle=HANDLE, lastConsumedClientMessageIndex="9223372036854775807"),
    "update, index zero": update(newHandle=HANDLE, resumable=True, lastConsumedClientMessageIndex="0"),
    "update without index": update(newHandle=HANDLE, resumable=True),
    "update, not resumable": update(),
    "update, not resumable and so told": update(newHandle="", resumable=False),
    "goAway": {"goAway": {"timeLeft": "50s"}},
    "goAway with a fraction": {"goAway": {"timeLeft": "59.5s"}},
    "goAway at once": {"goAway": {}},
    "audio": turn(audio()),
    "audio of vertex": turn({"inlineData": {"mimeType": "audio/pcm", "data": STANDARD}}, role="model"),
    "audio, url-safe": turn(audio(URL_SAFE)),
    "audio, one byte": turn(audio("AA==")),
    "audio, nothing": turn(audio("")),
    "audio, unpadded": turn(audio("AA")),
    "audio, url-safe and unpadded": turn(audio("__8")),
    "audio with a name": turn(audio(displayName="a.pcm")),
    "audio without a type": turn({"inlineData": {"data": STANDARD}}),
    "audio without data": turn({"inlineData": {"mimeType": "audio/pcm"}}),
    "audio twice": turn(audio(), audio(URL_SAFE)),
    "audio and text": turn({"text": "listen"}, audio(), role="model"),
    "audio and its transcription": {
        "serverContent": {"modelTurn": {"parts": [audio()]}, "outputTranscription": {"text": "a"}}
    },
    "image": turn({"inlineData": {"mimeType": "image/png", "data": STANDARD}}),
    "text": turn({"text": "Hello there."}),
    "text, empty": turn({"text": ""}),
    "text of many scripts": turn({"text": 'é ü ß 漢字 🧗🏽‍♀️ \u2028 "quoted" \\ \n\t \x7f'}),
    "thought": turn({"text": "**Weighing**\n\nwords", "thought": True}),
    "thought with a signature": turn({"text": "x", "thought": True, "thoughtSignature": URL_SAFE}),
    "executable code": turn({"executableCode": {"code": "print(1)", "language": "PYTHON"}}),
    "code result": turn({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}}),
    "code result, failed": turn({"codeExecutionResult": {"outcome": "OUTCOME_FAILED"}}),
    "function call in a turn": turn({"functionCall": {"id": "f", "name": "n", "args": NESTED_ARGS}}),
    "function response in a turn": turn(EVERYTHING["serverContent"]["modelTurn"]["parts"][5]),
    "file": turn({"fileData": {"fileUri": "gs://b/o", "mimeType": "video/mp4"}}),
    "video metadata": turn({"videoMetadata": {"startOffset": "1s", "fps": 24}}),
    "video metadata, fps with a fraction": turn({"videoMetadata": {"fps": 23.976}}),
    "media resolution": turn({"mediaResolution": {"level": "MEDIA_RESOLUTION_LOW", "numTokens": 64}}),
    "part metadata": turn({"text": "x", "partMetadata": {"any": [{"thing": 1}]}}),
    "tool call in a turn": turn({"toolCall": {"id": "t", "toolType": "GOOGLE_SEARCH_WEB", "args": {"q": "x"}}}),
    "transcription in a part": turn({"audioTranscription": {"text": "said", "finished": True}}),
    "turn of nothing": content(modelTurn={}),
    "turn without parts": turn(),
    "turn with an empty part": turn({}),
    "content of nothing": content(),
    "generation complete": content(generationComplete=True),
    "turn complete": content(turnComplete=True),
    "turn complete with usage": {**content(turnComplete=True), "usageMetadata": DEVELOPER_USAGE},
    "turn complete with usage, vertex": {
        **content(turnComplete=True, groundingMetadata={}),
        "usageMetadata": VERTEX_USAGE,
    },
    "turn complete, idle": content(turnComplete=True, interactionStatus="IDLE"),
    "turn complete, in progress": content(turnComplete=True, interactionStatus="IN_PROGRESS"),
    "turn complete with a reason": content(turnComplete=True, turnCompleteReason="MALFORMED_FUNCTION_CALL"),
    "interrupted": content(interrupted=True),
    "waiting for input": content(waitingForInput=True),
    "marks that are false": content(turnComplete=False, interrupted=False, generationComplete=False),
    "transcription of the answer": content(outputTranscription={"text": " recorded"}),
    "transcription begins": content(outputTranscription={}),
    "transcription ends": content(outputTranscription={"finished": True}),
    "transcription with words": content(
        inputTranscription={
            "text": " Hello",
            "languageCode": "en",
            "speakerLabel": "1",
            "words": [{"word": "Hello", "startOffset": "0.1s", "endOffset": "0.6s"}],
        }
    ),
    "transcription of the user": content(inputTranscription={"text": " Hello"}),
    "transcription, interim": content(interimInputTranscription={"text": " Hel"}),
    "grounding": content(groundingMetadata=GROUNDING),
    "url context": content(urlContextMetadata=EVERYTHING["serverContent"]["urlContextMetadata"]),
    "tool call": calls({"name": "f", "args": {"a": 1}, "id": "function-call-3225422447732038294"}),
    "tool calls in parallel": calls(
        {"id": "1", "name": "f", "args": NESTED_ARGS}, {"id": "2", "name": "g", "args": {}}
    ),
    "tool call without arguments": calls({"id": "1", "name": "f"}),
    "tool call that goes on": calls({"id": "1", "name": "f", "args": {}, "willContinue": True}),
    "tool call in pieces": calls(
        {"name": "f", "partialArgs": [{"jsonPath": "$.a", "stringValue": "x", "willContinue": True}]},
        {"name": "f", "partialArgs": [{"jsonPath": "$.b", "numberValue": 1}, {"jsonPath": "$.c", "boolValue": False}]},
    ),
    "tool call of none": calls(),
    "tool call of nothing": {"toolCall": {}},
    "cancellation": {"toolCallCancellation": {"ids": ["1", "function-call-2"]}},
    "cancellation of none": {"toolCallCancellation": {"ids": []}},
    "cancellation of nothing": {"toolCallCancellation": {}},
    "usage": usage(**DEVELOPER_USAGE),
    "usage of vertex": usage(**VERTEX_USAGE),
    "usage by both names": usage(**{**DEVELOPER_USAGE, **VERTEX_USAGE, "responseTokenCount": 7}),
    "usage, counts as text": usage(promptTokenCount="17", totalTokenCount=" 18 "),
    "usage with a tier": usage(totalTokenCount=1, serviceTier="FLEX"),
    "usage of nothing": usage(totalTokenCount=0),
    "voice activity": {"voiceActivity": {"voiceActivityType": "ACTIVITY_START", "audioOffset": "0.250s"}},
    "voice activity, short": {"voiceActivity": {"type": "ACTIVITY_END"}},
    "voice activity, both names": {"voiceActivity": EVERYTHING["voiceActivity"]},
    "voice signal": {"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_EOS"}},
    "goAway and update in one": {**update(newHandle=HANDLE, resumable=True), "goAway": {"timeLeft": "5s"}},
    "everything in one": EVERYTHING,
    # newer than the installed google-genai
    "unknown at the top": {**content(turnComplete=True), **UNKNOWN},
    "unknown in the content": content(turnComplete=True, **UNKNOWN),
    "unknown in the turn": turn({"text": "x"}, **UNKNOWN),
    "unknown in a part": turn({"text": "x", **UNKNOWN}),
    "unknown part": turn(UNKNOWN),
    "unknown in audio": turn(audio(**UNKNOWN)),
    "unknown in code": turn({"executableCode": {"code": "1", **UNKNOWN}}),
    "unknown in a transcription": content(outputTranscription={"text": "x", **UNKNOWN}),
    "unknown in grounding": content(
        groundingMetadata={"groundingChunks": [{"web": {"uri": "u", **UNKNOWN}, **UNKNOWN}]}
    ),
    "unknown in a call": calls({"id": "1", "name": "f", "args": {"fresh": 1}, **UNKNOWN}),
    "unknown in the calls": {"toolCall": {"functionCalls": [], **UNKNOWN}},
    "unknown in a cancellation": {"toolCallCancellation": {"ids": ["1"], **UNKNOWN}},
    "unknown in usage": usage(totalTokenCount=1, promptTokensDetails=[{**tokens("TEXT", 1), **UNKNOWN}], **UNKNOWN),
    "unknown in goAway": {"goAway": {"timeLeft": "1s", **UNKNOWN}},
    "unknown in an update": update(newHandle=HANDLE, resumable=True, **UNKNOWN),
    "unknown in the setup": {"setupComplete": {"sessionId": "s", **UNKNOWN}},
    "unknown in voice activity": {"voiceActivity": {"audioOffset": "1s", **UNKNOWN}},
    "new enum values": {
        **turn({"executableCode": {"language": "COBOL"}}, {"codeExecutionResult": {"outcome": "OUTCOME_MAYBE"}}),
        **usage(promptTokensDetails=[tokens("SMELL", 1), tokens("SMELL", 2)], trafficType="BY_SEA"),
        "voiceActivity": {"voiceActivityType": "ACTIVITY_PAUSE", "type": "ACTIVITY_PAUSE"},
        "voiceActivityDetectionSignal": {"vadSignalType": "HUMMING"},
    },
    "new enum values of marks": content(turnCompleteReason="BORED", interactionStatus="THINKING"),
    "new enum value, empty": content(turnCompleteReason=""),
    "lower-case enums": {
        **content(turnComplete=True, turnCompleteReason="response_rejected", interactionStatus="Idle"),
        **usage(promptTokensDetails=[tokens("audio", 1)], trafficType="on_demand"),
    },
}

NAN, INFINITY = float("nan"), float("inf")
ODD = {
    # null, which proto3 JSON does not write
    "null at the top": {"goAway": None, "serverContent": {"turnComplete": True}},
    "null alone": {"goAway": None},
    "null in an unknown": {"fresh": None, "goAway": {"timeLeft": "5s"}},
    "null in the content": content(modelTurn=None, turnComplete=True, interrupted=None),
    "null in the turn": turn({"text": "x"}, role=None),
    "null for parts": content(modelTurn={"parts": None}),
    "null for a part": turn({"text": "x"}, None),
    "null in a part": turn({"text": "x", "thought": None, "inlineData": None, "functionCall": None}),
    "null in a part, by its name": turn({"text": "x", "inline_data": None, "video_metadata": None}),
    "null in audio": turn(audio(displayName=None)),
    "null for data": turn(audio(None)),
    "null in an update": update(newHandle=None, resumable=None, lastConsumedClientMessageIndex=None),
    "null in goAway": {"goAway": {"timeLeft": None}},
    "null in a call": calls({"id": None, "name": "f", "args": None, "willContinue": None}),
    "null in arguments": calls({"name": "f", "args": {"a": None, "b": [None, {"c": None}]}}),
    "null for a call": calls(None),
    "null in a cancellation": {"toolCallCancellation": {"ids": ["1", None]}},
    "null in usage": usage(promptTokenCount=None, totalTokenCount=1, promptTokensDetails=None),
    "null in usage of vertex": usage(candidatesTokenCount=None, candidatesTokensDetails=[None]),
    "null in voice activity": {"voiceActivity": {"voiceActivityType": None, "audioOffset": "1s", "type": None}},
    "null as a word": turn({"text": "it is null and nullable"}),
    "null of a piece": calls({"name": "f", "partialArgs": [{"jsonPath": "$.a", "nullValue": "NULL_VALUE"}]}),
    # names as in Python, which google-genai takes below the top
    "snake_case at the top": {"server_content": {"turn_complete": True}, "go_away": {"timeLeft": "1s"}},
    "snake_case at the top, beside a known": {"tool_call": {"functionCalls": []}, "goAway": {"timeLeft": "1s"}},
    "snake_case within": {"serverContent": {"turn_complete": True, "model_turn": {"parts": [{"inline_data": {}}]}}},
    "snake_case in audio": turn({"inline_data": {"mime_type": "audio/pcm", "data": URL_SAFE}}),
    "both cases, camelCase first": content(
        turnComplete=True, turn_complete=False, modelTurn={}, model_turn={"role": "x"}
    ),
    "both cases, snake_case first": content(turn_complete=False, turnComplete=True),
    "both cases in a part": turn({"inline_data": {"mimeType": "a"}, "inlineData": {"mimeType": "b"}, "text": "x"}),
    "both cases in a call": calls({"name": "f", "will_continue": True, "willContinue": False}),
    "snake_case in usage": usage(response_token_count=5, prompt_token_count=6, totalTokenCount=7),
    "snake_case of vertex in usage": usage(candidates_token_count=5, totalTokenCount=7),
    "snake_case in usage details": usage(promptTokensDetails=[{"modality": "TEXT", "token_count": 3}]),
    "snake_case in voice activity": {"voiceActivity": {"voice_activity_type": "ACTIVITY_END", "audio_offset": "1s"}},
    "snake_case in an update": update(new_handle=HANDLE, resumable=True, last_consumed_client_message_index="5"),
    "snake_case in goAway": {"goAway": {"time_left": "5s"}},
    "names of Python's own": turn({"text": "x", "self": 1, "value": "y", "kwargs": {}, "cls": 1, "model_config": {}}),
    # numbers
    "NaN": calls({"name": "f", "args": {"a": NAN, "b": [INFINITY, -INFINITY]}}),
    "NaN for a number": turn({"videoMetadata": {"fps": NAN}}),
    "infinity for a count": usage(totalTokenCount=INFINITY),
    "NaN for a text": turn({"text": NAN}),
    "NaN in an unknown": {"fresh": NAN, "goAway": {}},
    "counts with a fraction of nothing": usage(totalTokenCount=17.0, promptTokenCount=1e2),
    "count with a fraction": usage(totalTokenCount=17.5),
    "count in words": usage(totalTokenCount="seventeen"),
    "count, much too large": usage(totalTokenCount=10**30, promptTokenCount=str(10**30)),
    "count, below zero": usage(totalTokenCount=-1),
    "count that is true": usage(totalTokenCount=True),
    "index below zero": update(newHandle=HANDLE, lastConsumedClientMessageIndex=-3),
    "index with a fraction": update(newHandle=HANDLE, lastConsumedClientMessageIndex=3.0),
    "index that is no number": update(newHandle=HANDLE, lastConsumedClientMessageIndex="three"),
    "marks as text": content(turnComplete="true", interrupted="False"),
    "mark as a word": content(turnComplete="yes"),
    "marks as numbers": content(turnComplete=1, interrupted=0),
    "mark as a fraction": content(turnComplete=1.0),
    "mark of two": content(turnComplete=2),
    # text and bytes
    "lone surrogate": turn({"text": "\ud83d"}),
    "lone surrogate in arguments": calls({"name": "f", "args": {"a": "\ud83d", "\udc00": 1}}),
    "lone surrogate in an unknown": {"fresh": "\udfff", "goAway": {"timeLeft": "5s"}},
    "lone surrogate in a key": {"\ud800": 1, "goAway": {"timeLeft": "5s"}},
    "lone surrogate in a handle": update(newHandle="\ud800", resumable=True),
    "base64 that is none": turn(audio("not base64!")),
    "base64 with a line end": turn(audio("AAAA\nAAAA")),
    "base64 with a blank": turn(audio("AAAA AAAA")),
    "base64 of both alphabets": turn(audio("+/-_")),
    "base64, too much padding": turn(audio("AA====")),
    "base64, padding within": turn(audio("AA==AA==")),
    "base64, one letter": turn(audio("A")),
    "base64, bits left over": turn(audio("AB==")),
    "base64 of other scripts": turn(audio("ÄÄÄÄ")),
    # other types
    "text for the content": {"serverContent": "x"},
    "list for the content": {"serverContent": [{}]},
    "number for goAway": {"goAway": 5},
    "true for goAway": {"goAway": True},
    "text for goAway": {"goAway": "5s"},
    "duration as an object": {"goAway": {"timeLeft": {"seconds": "50"}}},
    "duration as a number": {"goAway": {"timeLeft": 50}},
    "object for a text": turn({"text": {"x": 1}}),
    "object of nothing for a text": turn({"text": {}}),
    "list of objects for a text": turn({"text": [{"x": 1}]}),
    "number for a text": turn({"text": 5}),
    "list for arguments": calls({"name": "f", "args": [{"a": 1}]}),
    "text for arguments": calls({"name": "f", "args": "{}"}),
    "object for parts": content(modelTurn={"parts": {"text": "x"}}),
    "text for a part": turn("x"),
    "list for a part": turn([{"text": "x"}]),
    "object for ids": {"toolCallCancellation": {"ids": {"a": 1}}},
    "numbers for ids": {"toolCallCancellation": {"ids": [1, 2]}},
    "number for an enum": content(turnCompleteReason=3),
    "list for an enum": content(turnCompleteReason=["x"]),
    "true for an enum": content(turnCompleteReason=True),
    "blanks around an enum": usage(trafficType=" ON_DEMAND "),
    "object for details": usage(promptTokensDetails=tokens("TEXT", 1), candidatesTokensDetails={"modality": "TEXT"}),
    "text for details": usage(candidatesTokensDetails="TEXT"),
    "number for details": usage(candidatesTokensDetails=3),
    "text for usage": {"usageMetadata": "x"},
    "number for usage": {"usageMetadata": 3},
    "usage of nothing at all": usage(),
    "text for voice activity": {"voiceActivity": "x"},
    "list for voice activity": {"voiceActivity": [{"type": "ACTIVITY_END"}]},
    "voice activity of nothing": {"voiceActivity": {}},
    "zero at the top": {"goAway": 0, "serverContent": "", "toolCall": []},
    # no message at all
    "nothing": {},
    "unknown alone": {"fresh": {"deep": 1}},
    "error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"},
    "error of the server": {"code": 503, "message": "later"},
    "error within": {"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}},
    "error with a code as text": {"code": "404", "message": "x"},
    "error beside a message": {"code": 429, "message": "quota", "goAway": {"timeLeft": "5s"}},
    "list": [{"goAway": {}}],
    "list of nothing": [],
    "text alone": "goAway",
    "text of nothing": "",
    "number alone": 5,
    "zero alone": 0,
    "true alone": True,
    "false alone": False,
    "NaN alone": NAN,
}


def deep(opening, closing, depth):
    return opening * depth + b"1" + closing * depth


GO_AWAY = b'{"goAway": {"timeLeft": "5s"}}'
RAW = {
    "nothing": b"",
    "blanks": b" \n",
    "null": b"null",
    "zero byte": b"\0",
    "cut short": GO_AWAY[:-1],
    "cut in a text": GO_AWAY[:-5],
    "something behind": GO_AWAY + b"x",
    "twice": GO_AWAY + GO_AWAY,
    "twice, by lines": GO_AWAY + b"\n" + GO_AWAY,
    "zero byte behind": GO_AWAY + b"\0",
    "blanks around": b" \r\n\t" + GO_AWAY + b"\n \t\r\n",
    "odd blanks around": b"\x0b" + GO_AWAY + b"\x0c",
    "wide blank": GO_AWAY + "\u00a0".encode(),
    "byte order mark": b"\xef\xbb\xbf" + GO_AWAY,
    "utf-16": GO_AWAY.decode().encode("utf-16"),
    "utf-16 without a mark": GO_AWAY.decode().encode("utf-16-le"),
    "utf-32": GO_AWAY.decode().encode("utf-32-be"),
    "no utf-8": b'{"serverContent": {"modelTurn": {"parts": [{"text": "\xff\xfe"}]}}}',
    "no utf-8 in an unknown": b'{"fresh": "\xff", "goAway": {"timeLeft": "5s"}}',
    "no utf-8 in a key": b'{"\xff": 1, "goAway": {"timeLeft": "5s"}}',
    "utf-8 of a surrogate": b'{"fresh": "\xed\xa0\x80", "goAway": {"timeLeft": "5s"}}',
    "utf-8, too long": b'{"fresh": "\xc0\x80", "goAway": {"timeLeft": "5s"}}',
    "escapes": rb'{"serverContent": {"modelTurn": {"parts": [{"text": "\u00e9\ud83c\udfd4\/\b\f\u0000\u2028"}]}}}',
    "escapes in a key": rb'{"go\u0041way": {"time\u004ceft": "5s"}}',
    "escapes in base64": rb'{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"data": "AA\u0041A\/\/\/\/"}}]}}}',
    "unknown escape": rb'{"goAway": {"timeLeft": "\q"}}',
    "half an escape": rb'{"goAway": {"timeLeft": "\u00"}}',
    "escape with a sign": rb'{"goAway": {"timeLeft": "\u+041"}}',
    "surrogates the wrong way round": rb'{"goAway": {"timeLeft": "\udfd4\ud83c"}}',
    "control byte in a text": b'{"goAway": {"timeLeft": "5\ns"}}',
    "control byte in an unknown": b'{"fresh": "\x01", "goAway": {"timeLeft": "5s"}}',
    "delete in a text": b'{"goAway": {"timeLeft": "5\x7fs"}}',
    "single quotes": b"{'goAway': {}}",
    "bare key": b"{goAway: {}}",
    "comma behind": b'{"goAway": {},}',
    "comma behind, in a list": b'{"toolCall": {"functionCalls": [{},]}}',
    "no comma": b'{"goAway": {} "toolCall": {}}',
    "comment": b'{"goAway": {} /* x */}',
    "key that is a number": b"{1: {}}",
    "leading zero": b'{"usageMetadata": {"totalTokenCount": 017}}',
    "leading plus": b'{"usageMetadata": {"totalTokenCount": +17}}',
    "no digit before the point": b'{"usageMetadata": {"totalTokenCount": .5}}',
    "no digit behind the point": b'{"usageMetadata": {"totalTokenCount": 17.}}',
    "no exponent": b'{"usageMetadata": {"totalTokenCount": 17e}}',
    "hexadecimal": b'{"usageMetadata": {"totalTokenCount": 0x11}}',
    "minus alone": b'{"usageMetadata": {"totalTokenCount": -}}',
    "minus zero": b'{"toolCall": {"functionCalls": [{"args": {"a": -0, "b": -0.0, "c": 0e0}}]}}',
    "exponents": b'{"toolCall": {"functionCalls": [{"args": {"a": 1E+2, "b": 1e400, "c": -1e400, "d": 1e-400, "e": 2e-3}}]}}',
    "exact numbers": b'{"toolCall": {"functionCalls": [{"args": {"a": 0.1000000000000000055511151231257827, "b": 2.2250738585072011e-308, "c": 9007199254740993, "d": 9007199254740993.0, "e": 18446744073709551616, "f": 5e-324}}]}}',
    "spellings of NaN": b'{"toolCall": {"functionCalls": [{"args": {"a": NaN, "b": Infinity, "c": -Infinity}}]}}',
    "other spellings of NaN": b'{"toolCall": {"functionCalls": [{"args": {"a": nan}}]}}',
    "inf": b'{"toolCall": {"functionCalls": [{"args": {"a": inf}}]}}',
    "minus NaN": b'{"toolCall": {"functionCalls": [{"args": {"a": -NaN}}]}}',
    "True": b'{"serverContent": {"turnComplete": True}}',
    "number of 5,000 digits": b'{"usageMetadata": {"totalTokenCount": ' + b"1" * 5000 + b"}}",
    "number of 5,000 digits in arguments": b'{"toolCall": {"functionCalls": [{"args": {"a": ' + b"1" * 5000 + b"}}]}}",
    "number of 5,000 digits in an unknown": b'{"goAway": {}, "fresh": ' + b"1" * 5000 + b"}",
    "fraction of 5,000 digits": b'{"toolCall": {"functionCalls": [{"args": {"a": 1.' + b"1" * 5000 + b"}}]}}",
    "number of 4,300 digits": b'{"toolCall": {"functionCalls": [{"args": {"a": ' + b"9" * 4300 + b"}}]}}",
    "same key twice at the top": b'{"goAway": {"timeLeft": "1s"}, "goAway": {"timeLeft": "2s"}}',
    "same key twice at the top, and another": b'{"goAway": {"timeLeft": "1s"}, "goAway": {"timeLeft": "2s"}, "toolCall": {}}',
    "same key twice, then null": b'{"goAway": {"timeLeft": "1s"}, "goAway": null, "toolCall": {}}',
    "same key twice, once escaped": rb'{"goAway": {"timeLeft": "1s"}, "go\u0041way": {}}',
    "same key twice in the content": b'{"serverContent": {"turnComplete": true, "turnComplete": false}}',
    "same key twice, wrong first": b'{"serverContent": {"turnComplete": {}, "turnComplete": true}}',
    "same key twice, wrong last": b'{"serverContent": {"turnComplete": true, "turnComplete": {}}}',
    "same data twice": b'{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"data": "AAAA", "data": "////"}}]}}}',
    "same data twice, wrong first": b'{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"data": "!", "data": "////"}}]}}}',
    "same argument twice": b'{"toolCall": {"functionCalls": [{"args": {"a": 1, "b": 2, "a": 3}}]}}',
    "same unknown twice": b'{"fresh": 1, "goAway": {}, "fresh": {}}',
    "same mark by both cases twice": b'{"serverContent": {"turn_complete": false, "turnComplete": true, "turn_complete": true}}',
    "both cases, once escaped": rb'{"serverContent": {"turnComplete": true, "turn\u005fcomplete": false}}',
    "both cases, a letter escaped": rb'{"serverContent": {"turnComplete": true, "turn_complet\u0065": false}}',
    "deep in an unknown": b'{"goAway": {}, "fresh": ' + deep(b"[", b"]", 150) + b"}",
    "deeper in an unknown": b'{"goAway": {}, "fresh": ' + deep(b"[", b"]", 900) + b"}",
    "deep in arguments": b'{"toolCall": {"functionCalls": [{"args": ' + deep(b'{"a":', b"}", 150) + b"}]}}",
    "deeper in arguments": b'{"toolCall": {"functionCalls": [{"args": ' + deep(b'{"a":', b"}", 400) + b"}]}}",
    "too deep": b'{"goAway": {}, "fresh": ' + deep(b"[", b"]", 100_000) + b"}",
    "too deep and cut short": b"[" * 100_000,
    "error, empty": b'{"code": null}',
    "proto": b"\x0a\x05hello",
}


def pretty(value):
    """Write as the Developer API does: two blanks, a line end behind."""
    return (json.dumps(value, indent=2) + "\n").encode()


def compact(value):
    """Write with neither blanks nor escapes that are not needed."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


FRAMES = {
    **{
        f"{name}, {write.__name__}": write(value)
        for name, value in {**ORDINARY, **ODD}.items()
        for write in (pretty, compact)
    },
    **{f"raw: {name}": frame for name, frame in RAW.items()},
}
"""Every frame by its name."""
TAKEN = [f"{name}, {write.__name__}" for name in ORDINARY for write in (pretty, compact)]
"""The names of those that a fast lane has to take."""
