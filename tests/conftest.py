"""What the tests share: hypothesis without deadlines (machines are busy), and the same examples in every run."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("project")
