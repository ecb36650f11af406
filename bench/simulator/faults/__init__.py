"""Faults on demand: what can go wrong (`kinds`), what that does, and when it strikes (`injection`)."""
