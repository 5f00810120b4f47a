"""Draws the table of states (`resumekit/core/state.py`) as an SVG that takes its colours from the page it is part of."""

from __future__ import annotations

from resumekit.core.state import TRANSITIONS, State, Trigger

AT = {
    State.IDLE: (65, 70),
    State.DIALING: (245, 70),
    State.BINDING: (425, 70),
    State.LIVE: (665, 70),
    State.DRAINING: (905, 70),
    State.WAITING: (245, 240),
    State.MOVING: (785, 240),
    State.CLOSED: (425, 400),
    State.LOST: (665, 400),
}
"""The middle of each state."""
WIDTH, HEIGHT, HALF, TALL = 990, 430, 55, 22

LINES = {
    (State.IDLE, State.DIALING): ("M120 70 H189", (152, 60)),
    (State.DIALING, State.BINDING): ("M300 70 H369", (332, 60)),
    (State.BINDING, State.LIVE): ("M480 70 H609", (542, 60)),
    (State.LIVE, State.DRAINING): ("M720 70 H849", (782, 60)),
    (State.LIVE, State.MOVING): ("M685 92 C700 150 730 180 762 217", (748, 150)),
    (State.DRAINING, State.MOVING): ("M885 92 C870 150 840 180 808 217", (888, 165)),
    (State.MOVING, State.WAITING): ("M730 240 H302", (610, 230)),
    (State.WAITING, State.DIALING): ("M225 218 C213 170 213 140 225 94", (192, 160)),
    (State.DIALING, State.WAITING): ("M265 92 C277 140 277 170 265 216", (0, 0)),
    (State.BINDING, State.WAITING): ("M405 92 C385 150 345 190 290 217", (0, 0)),
    (State.LIVE, State.WAITING): ("M643 92 C590 170 430 215 302 230", (0, 0)),
    (State.DRAINING, State.WAITING): ("M930 92 C990 370 500 340 290 264", (0, 0)),
}
"""How each transition goes, and where its name stands; those of a connection that failed look alike and need none."""


def drawn() -> str:
    """Return the drawing, without an empty line, to stand in a page."""
    names: dict[tuple[State, State], list[str]] = {}
    for (state, trigger), target in TRANSITIONS.items():
        if trigger not in (Trigger.CLOSE, Trigger.GIVE_UP):
            names.setdefault((state, target), []).append(trigger.value)
    missing = names.keys() ^ LINES.keys()
    if missing:
        raise LookupError(f"docs/draw_states.py does not draw what the table says: {missing}")
    out = [
        f'<svg class="states" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-label="The states of a session, and what leads from one to the next">',
        "<style>"
        ".states text { font: 16px system-ui, sans-serif; fill: var(--md-default-fg-color, #222); text-anchor: middle }"
        ".states .name { font-weight: 600; font-size: 17px }"
        ".states .small { fill: var(--md-default-fg-color--light, #555) }"
        ".states rect { fill: var(--md-code-bg-color, #f4f4f5); stroke: var(--md-default-fg-color--light, #777); stroke-width: 1.5 }"
        ".states .live rect { stroke: #2f9e5b; stroke-width: 2.5 } .states .lost rect { stroke: #d64545; stroke-width: 2.5 }"
        ".states .line { fill: none; stroke: var(--md-default-fg-color--light, #777); stroke-width: 1.6 }"
        ".states .failed { stroke: #d64545; stroke-dasharray: 5 4 } .states .head { fill: var(--md-default-fg-color--light, #777) }"
        ".states .redhead { fill: #d64545 }"
        "</style>",
        '<defs><marker id="states-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker>'
        '<marker id="states-redhead" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path class="redhead" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
    ]
    for (state, target), (path, (x, y)) in LINES.items():
        said = names[state, target]
        failed = said == [Trigger.FAIL.value]
        kind, head = ("line failed", "states-redhead") if failed else ("line", "states-head")
        out.append(
            f"<g><title>{state.value} to {target.value}: {' or '.join(said)}</title>"
            f'<path class="{kind}" d="{path}" marker-end="url(#{head})"/>'
        )
        if not failed:
            out += [
                f'<text class="small" x="{x}" y="{y - 18 * (len(said) - 1 - number)}">{one}</text>'
                for number, one in enumerate(said)
            ]
        out.append("</g>")
    for state, (x, y) in AT.items():
        out.append(
            f'<g class="{state.value}"><rect x="{x - HALF}" y="{y - TALL}" width="{2 * HALF}" height="{2 * TALL}" rx="10"/>'
            f'<text class="name" x="{x}" y="{y + 5}">{state.value}</text></g>'
        )
    out += [
        '<path class="line failed" d="M20 330 H70" marker-end="url(#states-redhead)"/>',
        '<text class="small" x="82" y="335" style="text-anchor: start">connection failed</text>',
        '<path class="line" d="M310 400 H369" marker-end="url(#states-head)"/>',
        '<text class="small" x="300" y="395" style="text-anchor: end">close: from every state</text>',
        '<text class="small" x="300" y="415" style="text-anchor: end">that is not final</text>',
        '<path class="line" d="M780 400 H721" marker-end="url(#states-head)"/>',
        '<text class="small" x="790" y="395" style="text-anchor: start">give up: the same,</text>',
        '<text class="small" x="790" y="415" style="text-anchor: start">save idle</text>',
        "</svg>",
    ]
    return "\n".join(out)
