"""Keeps of an answer what the policies bear out."""

from typing import Any

NOT_ANSWERED = "The policies do not answer this."


def told(sources: list[dict[str, Any]]) -> dict[str, Any]:
    """Make the answer of its sentences that a passage supports.

    Args:
        sources: For each sentence the passages found for it: objects with `claim`, `document`, `label`, `quote`, `supported`.
    """
    borne_out = [source for source in sources if source["supported"] and not _gives_up(source["claim"])]
    if not borne_out:
        return {"answer": NOT_ANSWERED, "answered": False, "sources": [], "text": NOT_ANSWERED}
    sentences = dict.fromkeys(str(source["claim"]).strip() for source in borne_out)
    answer = " ".join(sentences)
    named = dict.fromkeys((str(source["document"]), str(source["label"])) for source in borne_out)
    shown = [f"{document}{f', {label}' if label else ''}" for document, label in named]
    return {
        "answer": answer,
        "answered": True,
        "sources": [_source(source) for source in borne_out],
        "text": f"{answer}\n\nSources: {'; '.join(shown)}",
    }


def _source(source: dict[str, Any]) -> dict[str, Any]:
    return {key: source[key] for key in ("claim", "document", "label", "quote")}


def _gives_up(sentence: str) -> bool:
    return "do not answer" in sentence.casefold()
