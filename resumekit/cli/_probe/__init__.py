"""The probe of the real service behind ``resumekit doctor --probe``: one function a question, no engine in between."""
