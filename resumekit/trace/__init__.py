"""Traces of sessions: everything that an engine was fed, and what it made of it, to be looked at and run again.

```python
async with resumable.connect(client, model=MODEL, trace="call.jsonl") as session:
    ...
```

``resumekit timeline call.jsonl`` draws what happened; ``resumekit replay call.jsonl`` runs the engine over it once more,
and so does `replay`, in a test:

```python
from resumekit.trace import replay


def test_the_call_that_went_wrong():
    result = replay("call.jsonl")
    assert result.same, result
```

Nothing of this is imported by a session that is not traced.
"""

from __future__ import annotations

from resumekit.trace.engine import TracedEngine
from resumekit.trace.file import Recording, Trace
from resumekit.trace.reading import TraceFile, read_trace
from resumekit.trace.replaying import Difference, Replay, replay

__all__ = ["Difference", "Recording", "Replay", "Trace", "TraceFile", "TracedEngine", "read_trace", "replay"]
