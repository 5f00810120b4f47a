"""The parts of ``resumekit demo``: the script, the two apps, what they recorded, and how it is told and judged."""
