"""Properties are about results, not about speed: how long an example takes on a busy machine fails no test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("any speed", deadline=None)
settings.load_profile("any speed")
