"""Children beside the sessions: whatever becomes of a signal, the wait for one has an end."""

from __future__ import annotations
