"""Where the weights for a plan come from, and what is missing of them."""

from __future__ import annotations

from collections.abc import Iterator

from changeover.app.planning.answer import Lack
from changeover.app.planning.ground import Ground
from changeover.core.errors import EngineError
from changeover.core.sizes import in_gib
from changeover.library.artifacts import Artifact, ArtifactSource, FileSource, HubSource, MirrorSource
from changeover.library.cards import Card
from changeover.library.pull import present
from changeover.serving.conversions import Making, expected_bytes, expected_s, is_made, maker
from changeover.serving.options import BackendName
from changeover.serving.weights import LOADS, Weights


def weights_lacks(card: Card, engine: BackendName, weights: Weights | None, ground: Ground) -> Iterator[Lack]:
    """What is missing of the weights that an engine would load, or of what makes them of others."""
    artifact = None if weights is None else weights.artifact
    form = LOADS.get(engine, f"the form that `{engine}` loads")
    if artifact is None:
        have = sorted({each.format for each in card.artifacts})
        beside = f"; it has {' and '.join(have)}" if have else ""
        what = f"weights of `{card.id}` in {form} that the library has pinned{beside}"
        yield Lack(kind="weights", what=what, remedy=_pinning(card, form))
    elif not artifact.sources and not present(artifact, ground.cache):
        what = f"a place where the weights of `{card.id}` in {artifact.quantisation} can be fetched"
        yield Lack(kind="weights", what=what, remedy="Add a source to its card: docs, guides, pull.")
    making = None if weights is None else weights.making(ground.cache)
    if making is not None and not is_made(making):
        yield from _tools(making, ground)


def _tools(making: Making, ground: Ground) -> Iterator[Lack]:
    try:
        maker(making.conversion, ground.homes)
    except EngineError as exc:
        what = f"what makes {making.conversion.quantisation} {making.conversion.makes} of its GGUF file"
        yield Lack(kind="engine", what=what, remedy=exc.message)


def files_of(card: Card, artifact: Artifact | None) -> tuple[int | None, str | None]:
    """Bytes of an artifact, and where it is fetched, in words; of none the repository that could be pinned."""
    if artifact is not None:
        return artifact.size_bytes, source_of(artifact)
    where = card.repositories or card.modelscope
    return None, f"the repository {where[0]}, which is not pinned yet" if where else None


def source_of(artifact: Artifact) -> str | None:
    """Where an artifact is fetched first, in words; None: nothing says."""
    return next((_words(source) for source in artifact.sources), None)


def made_of(making: Making) -> str:
    """What is made of fetched weights, in words."""
    made = f"{making.conversion.quantisation} {making.conversion.makes}"
    return f"{made}, about {in_gib(expected_bytes(making))}, up to {expected_s(making)} s, once"


def _pinning(card: Card, form: str) -> str:
    where = card.repositories or card.modelscope
    if card.weights == "closed":
        return "Its weights are closed: `--engine openai` asks its host."
    if not where:
        return f"Nobody named a repository of it: `changeover models {card.id}` shows what is known."
    unsure = ", which may hold other forms only" if form == "gguf" else ""
    agree = " Its hub gives them to who has agreed to its terms there." if card.gated else ""
    return (
        f"Its repository is `{where[0]}`{unsure}: `changeover pull {card.id} --online --revision main` says at which commit "
        f"it can be pinned.{agree}"
    )


def _words(source: ArtifactSource) -> str:
    match source:
        case HubSource():
            return f"{source.repository} on {source.hub}"
        case MirrorSource():
            return source.url
        case FileSource():
            return f"the file {source.path}"
        case _:
            first, *more = source.packages
            return f"the package {first}" + (f" and {len(more)} more" if more else "")
