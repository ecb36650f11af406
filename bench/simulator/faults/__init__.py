"""Faults on demand: what can go wrong (`kinds`), what that does (`actions`), and when it strikes (`injection`)."""
