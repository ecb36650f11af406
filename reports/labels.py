"""What a run is called: its name, and the labels that it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def labels_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The labels of a run's document, as `--label` gave them; none where it has none."""
    labels = document.get("labels")
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def called(name: str, labels: Mapping[str, str]) -> str:
    """voice_turns (commit 1a2b3c, build 77)."""
    told = ", ".join(f"{key} {value}" for key, value in labels.items())
    return f"{name} ({told})" if told else name


def all_called(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """What several runs are called, without what is said twice."""
    return list(
        dict.fromkeys(
            called(str(document["scenario"]), labels_of(document)) for document in documents if document.get("scenario")
        )
    )
