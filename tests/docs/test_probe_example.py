"""The example of `resumekit doctor --probe` on the page of the commands is what the command prints."""

from __future__ import annotations

import re

import pytest

from tests.cli.probing import EXAMPLE, example


def masked(text):
    """Hide measured times, save for the digits before the point: a busy machine adds to the others."""
    return re.sub(r"\b(\d+)\.\d\d s", r"\1 s", text)


@pytest.mark.network
def test_the_example_is_what_the_probe_prints():
    assert masked(example()) == masked(EXAMPLE.read_text("utf-8")), "run: python -m tests.cli.probing"
