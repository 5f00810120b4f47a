"""What the pages of the Python API say beyond docstrings: fields that say it by their name, and links from name to name.

An extension of griffe, which reads the package for mkdocstrings (docs/zensical.toml); and `undocumented`, for the build.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import make_reference  # noqa: E402

API = DOCS / "reference" / "api"
THE_SERVICE_S = "resumekit.wire"
"""Its fields are the frames': the service's documentation says what they mean."""

FIELDS = make_reference.COMMON | {
    "age_close": "Close code and reason of a connection that has reached `connection_age`.",
    "at": "When it strikes.",
    "audio_frame_ms": "Milliseconds of audio in each frame of an answer.",
    "audio_lost": "Seconds of it.",
    "close_reason": "Of the close frame.",
    "closed_at": "None: it is open.",
    "closed_by": "Who ended it; empty: nobody, so far.",
    "authority": "Which signs the servers' certificates.",
    "bound_elsewhere_reason": "With which it refuses a resume while the old connection is open.",
    "code": "The last close code, or HTTP status.",
    "details": "What happened, as google-genai's `APIError` has it.",
    "dialled": "It was let in, and has dialled.",
    "family": "Of models that behave alike.",
    "framing": "Of its frames: the real service sends binary ones.",
    "frames_in": "From the client.",
    "frames_out": "To the client.",
    "handle_at_setup": "Whether the first one comes right after setupComplete.",
    "handles_issued": "How many.",
    "host": "Where it listens.",
    "id": "As the model gave it.",
    "invalid_handle_code": "With which a handle is refused that is not known.",
    "invalid_handle_reason": "With which a handle is refused that is not known.",
    "invalidate_older": "Whether a new handle ends the older ones.",
    "n": "At which one of its kind, from 1.",
    "on": "What has to happen.",
    "path": "Of the upgrade request.",
    "pong_delay": "Seconds until a ping is answered.",
    "port": "Where it listens; 0 before it does, unless it was given.",
    "pretty": "Whether the JSON of its frames is spread over lines.",
    "profile": "Which of the two services is played.",
    "publish": "Where its events go.",
    "recall": "The questions that the model remembers, where it was asked for them.",
    "response": "None: no HTTP response is behind it.",
    "results": "What the tools answered.",
    "send_handles": "Whether handles come at all.",
    "session_close_code": "With which a session ends that has reached `session_age`.",
    "session_id": "As the service names it.",
    "settings": "What is set, resolved.",
    "setup_at": "None: no setup came.",
    "single_use": "Whether a handle is accepted once only.",
    "status": "None: there is no name of a status.",
    "ticket": "Its name in the pool.",
    "tokens_per_minute": "Of all sessions together; None: unknown.",
    "turn": "Done when it is let in.",
    "turns_completed": "How many.",
    "unknown_tool_id": "What comes of a response to a call that the state does not know.",
    "turns_held": "How many turns of the user the model remembers.",
}
UNSAID = {"Knobs", "ResumableGemini.model_config", "Session.bridge", "Session.bridge_type"}
"""Fields of `Knobs` are told at `Settings`; the others are for google-genai and pydantic."""

MACHINERY = {"Struct", "msgspec.Struct", "Protocol", "NamedTuple", "TypedDict", "str", "Generic"}
"""What a class is made with tells a reader nothing."""


def pages() -> Iterator[tuple[str, str, list[str]]]:
    """Yield what the pages of the API hold: the page, the module that it documents, and names of it in their order."""
    for path in sorted(API.glob("*.md")):
        for module, options in re.findall(r"^::: (\S+)\n((?:    .*\n)*)", path.read_text("utf-8"), re.MULTILINE):
            members = re.search(r"members: \[(.*?)\]", options, re.DOTALL)
            if members:
                yield path.name, module, re.findall(r"\w+", members[1])


def public(package: griffe.Module) -> Iterator[tuple[str, str, griffe.Object]]:
    """Yield what the pages document: the module, the name (`Policy`, `Policy.max_outage`), and what it is."""
    for _, module, names in pages():
        inside = package[module.removeprefix("resumekit").removeprefix(".")] if module != "resumekit" else package
        for name in names:
            thing = final(inside.members[name])
            yield module, name, thing
            if isinstance(thing, griffe.Class):
                for member, one in thing.members.items():
                    if not member.startswith("_") and not {name, f"{name}.{member}"} & UNSAID:
                        yield module, f"{name}.{member}", final(one)


def final(thing: griffe.Object | griffe.Alias) -> griffe.Object:
    return thing.final_target if isinstance(thing, griffe.Alias) else thing


class Fields(griffe.Extension):
    """Gives fields their words, and turns code in docstrings that names something public into a link to it."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: object) -> None:
        if pkg.name != "resumekit":
            return
        loader.resolve_aliases()
        fill(pkg)
        for module in (pkg, *(pkg[name.partition(".")[2]] for _, name, _ in pages() if name != "resumekit")):
            if final(module).docstring:
                final(module).docstring.value = final(module).docstring.value.replace("\n::\n", "\n")
        places = link_table(public(pkg))
        spell_out(pkg)
        for module, name, thing in public(pkg):
            if isinstance(thing, griffe.Class):
                thing.bases = [base for base in thing.bases if str(base) not in MACHINERY]
            if thing.docstring:
                thing.docstring.value = linked(thing.docstring.value, places, module, but=name)


def fill(package: griffe.Module) -> None:
    """Give fields without a docstring what `FIELDS` says of them."""
    for module, name, thing in public(package):
        text = FIELDS.get(name.rpartition(".")[2])
        if thing.is_attribute and not thing.docstring and text and module != THE_SERVICE_S:
            thing.docstring = griffe.Docstring(text, parent=thing)


def spell_out(package: griffe.Module) -> None:
    """Say behind what has a signature which types stand behind the names in it that have no place of their own."""
    shown = {name for _, name, _ in public(package)}
    for _, _, thing in public(package):
        called = thing.members.get("__init__", thing) if thing.is_class else thing
        aliases: dict[str, str] = {}
        for parameter in getattr(final(called), "parameters", ()):
            if isinstance(parameter.annotation, griffe.Expr):
                aliases |= dict(behind(package, parameter.annotation, shown))
        if aliases and thing.docstring:
            lines = [f"- `{name}` is `{value}`" for name, value in aliases.items()]
            thing.docstring.value += "\n\n" + "\n".join(["**Types in the signature:**", "", *lines])


def behind(package: griffe.Module, annotation: griffe.Expr, shown: set[str]) -> Iterator[tuple[str, str]]:
    for name in annotation.iterate(flat=True):
        if (
            isinstance(name, griffe.ExprName)
            and name.canonical_path.startswith("resumekit.")
            and str(name) not in shown
        ):
            alias = final(package[name.canonical_path.partition(".")[2]])
            if alias.is_attribute and str(alias.annotation) == "TypeAlias":
                yield str(name), str(alias.value).strip("'")


def read(root: Path) -> griffe.Module:
    loader = griffe.GriffeLoader(search_paths=[root])
    package = loader.load("resumekit")
    loader.resolve_aliases()
    assert isinstance(package, griffe.Module)
    return package


def places(root: Path) -> dict[str, dict[str, str]]:
    return link_table(public(read(root)))


def undocumented(root: Path) -> list[str]:
    """Return the public names that no page can say anything about."""
    package = read(root)
    fill(package)
    return [
        f"{module}.{name}" for module, name, thing in public(package) if not thing.docstring and module != THE_SERVICE_S
    ]


def link_table(names: Iterator[tuple[str, str, griffe.Object]]) -> dict[str, dict[str, str]]:
    """Return where names lead to, for each module, and for everywhere else under the empty name."""
    places: dict[str, dict[str, str]] = {"": {}}
    for module, name, _ in names:
        full = f"{module}.{name}"
        places.setdefault(module, {})[name] = full
        places[""][full] = full
        if module != THE_SERVICE_S and (name[0].isupper() or name.startswith(("choose_", "classify_", "provide_"))):
            taken = places[""].get(name)
            if taken is None or module == "resumekit.errors":
                places[""][name] = full
            elif taken != full and not taken.startswith("resumekit.errors."):
                places[""][name] = ""  # two of this name: nobody knows which is meant
    return places


_CODE = re.compile(r"(?<![`\[\w])`([A-Za-z_][\w.]*)(\(\))?`(?![`\]])")


def linked(text: str, places: dict[str, dict[str, str]], module: str = "", *, but: str = "") -> str:
    """Return Markdown in which code that names something public is a link to it."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        full = places.get(module, {}).get(name) or places[""].get(name)
        return f"[{match[0]}][{full}]" if full and name != but and full != f"{module}.{but}" else match[0]

    fenced = False
    out = []
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        if fenced or (line.startswith(("#", "    ")) and not module):
            out.append(line)
        else:
            out.append(
                re.sub(
                    r"(\[[^\]]*\]\([^)]*\))|(?:.+?(?=\[[^\]]*\]\()|.+)",
                    lambda part: part[0] if part[1] else _CODE.sub(link, part[0]),
                    line,
                )
            )
    return "".join(out)
