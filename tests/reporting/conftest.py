"""The small built project of the inspection's tests."""

from __future__ import annotations

from ..inspection.conftest import built

__all__ = ["built"]
