"""Defects to plant in the engine, by the test of failing.py that finds them."""

from __future__ import annotations

from resumekit.core.engine import Engine

__all__ = ["DEFECTS"]


def _resumes_never(monkeypatch):
    monkeypatch.setattr(Engine, "_resume_record", lambda self: None)


def _crashes_on_go_away(monkeypatch):
    def crash(*_):
        raise ZeroDivisionError("a planted defect")

    monkeypatch.setattr(Engine, "_go_away", crash)


def _saves_nothing(monkeypatch):
    monkeypatch.setattr(Engine, "_save", lambda self, record: None)


DEFECTS = {
    "test_bench": _resumes_never,
    "test_crash": _crashes_on_go_away,
    "test_schedule": _resumes_never,
    "test_driver": _saves_nothing,
    "test_session": _saves_nothing,
}
