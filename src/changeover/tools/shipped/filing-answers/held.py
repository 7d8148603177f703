"""Decides whether an answer counts: only what a passage bears out does."""

from __future__ import annotations

from typing import Any

NOT_FOUND = "Not in the document."


def held(text: str, sources: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer with its pages, or that the document does not hold it."""
    borne_out = [source for source in sources if source.get("supported")]
    pages = sorted({source["page"] for source in borne_out if source.get("page")})
    if not text.strip() or NOT_FOUND.rstrip(".").casefold() in text.casefold() or not borne_out:
        return {"found": False, "answer": NOT_FOUND, "pages": [], "text": NOT_FOUND}
    where = f" ({'p.' if len(pages) == 1 else 'pp.'} {', '.join(map(str, pages))})" if pages else ""
    return {"found": True, "answer": text.strip(), "pages": pages, "text": text.strip() + where}
