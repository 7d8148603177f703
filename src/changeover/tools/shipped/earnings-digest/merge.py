"""Makes one digest of the notes on the parts of a transcript."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

TOPICS = ("revenue", "margin", "guidance")
MOST_RISKS = 8


def merge(notes: list[Any]) -> dict[str, Any]:
    """Statements of all parts by topic, each said once, and the tone that most parts have."""
    read = [cast("dict[str, Any]", note) for note in notes if isinstance(note, dict)]
    statements = [
        {"topic": topic, "text": text} for topic in TOPICS for text in _told([note.get(topic) for note in read])
    ]
    risks = _told([risk for note in read for risk in cast("list[Any]", note.get("risks") or [])])
    statements += [{"topic": "risk", "text": risk} for risk in risks[:MOST_RISKS]]
    tones = Counter(tone for note in read if (tone := str(note.get("tone") or "not clear")) != "not clear")
    return {"statements": statements, "tone": tones.most_common(1)[0][0] if tones else "not clear"}


def digest(statements: list[dict[str, Any]], tone: str) -> dict[str, Any]:
    """The digest of what held: the first statement on revenue and on margin, the last on guidance, every risk."""
    said: dict[str, list[str]] = {topic: [] for topic in (*TOPICS, "risk")}
    for statement in statements:
        said[statement["topic"]].append(statement["text"])
    return {
        "revenue": "".join(said["revenue"][:1]),
        "margin": "".join(said["margin"][:1]),
        "guidance": "".join(said["guidance"][-1:]),
        "tone": tone,
        "risks": said["risk"],
    }


def _told(texts: list[Any]) -> list[str]:
    clean = [" ".join(str(text or "").split()) for text in texts]
    return list({text.casefold(): text for text in clean if text}.values())
