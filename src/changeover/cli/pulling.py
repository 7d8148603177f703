"""What `changeover pull` does: an artifact that a card pins, or a repository at a commit that is pinned from now on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from changeover.app.fetching import Terms
from changeover.app.library_files import LibraryFiles
from changeover.app.licence_checks import check_fetch
from changeover.cli.frame import note, out, print_json
from changeover.cli.weights import Bar, bars, fetch_one
from changeover.core.clock import SystemClock
from changeover.core.errors import ArtifactError
from changeover.core.settings import Project
from changeover.library.artifacts import Artifact, HubSource
from changeover.library.cards import Card
from changeover.library.catalogue import PULLED
from changeover.library.fetch.listing import Listing
from changeover.library.first_pull import Choice, FirstPull, as_toml, choose, quantisation_of
from changeover.library.licences.licensing import Licensing
from changeover.library.pull import SourceKind, artifact_path, kind_of, module_of
from changeover.library.pull import pull as pull_artifact
from changeover.library.remote_code import RemoteCode, judge_code


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    quantisation: str | None = None
    source: SourceKind | None = None
    online: bool = False
    revision: str | None = None
    without_code: bool = False


def pull(model: str, asked: Asked, *, as_json: bool) -> None:
    """Have a model's weights here, and say where."""
    files = LibraryFiles.at(Path.cwd())
    catalogue, cache, project = files.catalogue(), files.cache, files.project
    card = catalogue.card(model)
    terms = _terms(project, asked)
    check_fetch(Licensing(catalogue, terms.policy, SystemClock().now().date()), [card])
    artifact = _pinned(card, asked)
    written: Path | None = None
    with bars() as bar_of:
        if artifact is None:
            artifact, written = _first(card, asked, cache, terms, project, bar_of(card.id))
        else:
            fetch_one(card, artifact, cache, terms, bar_of(card.id))
    path = artifact_path(artifact, cache)
    if as_json:
        print_json(_document(card, artifact, path, written))
        return
    out.print(f"{card.id}  {path}\nsha256 {artifact.sha256} verified", soft_wrap=True)
    if written is not None:
        out.print(
            f"pinned in {written}: trust on first use. Every later pull has to give the same files.", soft_wrap=True
        )


def _document(card: Card, artifact: Artifact, path: Path, written: Path | None) -> dict[str, object]:
    return {
        "model": card.id,
        "path": path,
        "format": artifact.format,
        "quantisation": artifact.quantisation,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "files": [file.model_dump() for file in artifact.files],
        "pinned_in": written,
    }


def _terms(project: Project | None, asked: Asked) -> Terms:
    terms = Terms.of(project)
    if not asked.online:
        return terms
    sources = terms.access.sources.model_copy(update={"online": True})
    return replace(terms, access=replace(terms.access, sources=sources))


def _pinned(card: Card, asked: Asked) -> Artifact | None:
    """The artifact of a card that is meant, with the sources that are; None where none is pinned yet.

    Raises:
        ArtifactError: No artifact is of that quantisation, or has such a source; or none is pinned, and no commit is said.
    """
    found = [_with_sources(one, asked) for one in card.artifacts]
    if asked.revision is not None:
        return next((one for one in found if _is_of(one, asked.revision)), None)
    if not card.artifacts:
        raise ArtifactError(_says_how(card))
    if asked.quantisation is not None:
        found = [one for one in found if one.quantisation.casefold() == asked.quantisation.casefold()]
        if not found:
            known = ", ".join(sorted({one.quantisation for one in card.artifacts}))
            raise ArtifactError(f"`{card.id}` has no artifact `{asked.quantisation}`. It has: {known}.")
    with_source = [one for one in found if one.sources]
    if not with_source and asked.source is not None:
        known = ", ".join(sorted({kind_of(source) for one in card.artifacts for source in one.sources}))
        raise ArtifactError(f"`{card.id}` has no source of the kind `{asked.source}`. It has: {known or 'none'}.")
    return (with_source or found)[0]


def _with_sources(artifact: Artifact, asked: Asked) -> Artifact:
    if asked.source is None:
        return artifact
    sources = tuple(source for source in artifact.sources if kind_of(source) == asked.source)
    return artifact.model_copy(update={"sources": sources})


def _is_of(artifact: Artifact, revision: str) -> bool:
    return any(isinstance(source, HubSource) and source.revision == revision for source in artifact.sources)


def _says_how(card: Card) -> str:
    where = card.repositories or card.modelscope
    if not where:
        return (
            f"`{card.id}` has no artifact that can be fetched, and names no repository. `changeover models {card.id}`."
        )
    return (
        f"`{card.id}` has no artifact yet. Its repository is `{where[0]}`: pull it at a commit with "
        f"`changeover pull {card.id} --online --revision COMMIT`; `--revision main` says which commit that is now."
    )


def _first(
    card: Card, asked: Asked, cache: Path, terms: Terms, project: Project | None, bar: Bar
) -> tuple[Artifact, Path | None]:
    """Pull a repository that nobody has pinned yet; gives the artifact, and the file that pins it."""
    listing = _listed(card, asked, terms)
    choice = choose(listing, asked.quantisation)
    _say_what_is_left(choice)
    with FirstPull(listing, choice, cache, bar, terms.access) as first:
        code = _approved_code(card, first.code(card), terms, asked)
        artifact = first.artifact(code)
        access = replace(terms.access, code=code is not None)
        path = pull_artifact(artifact, cache, bar, access, have=first.have)
    if choice.quantisation is None:
        artifact = artifact.model_copy(update={"quantisation": quantisation_of(artifact, path)})
    bar.verified()
    return artifact, _pin(card, artifact, project)


def _listed(card: Card, asked: Asked, terms: Terms) -> Listing:
    assert asked.revision is not None  # else an artifact was found, or it was refused
    on_modelscope = asked.source == "modelscope" or not card.repositories
    repositories = card.modelscope if on_modelscope else card.repositories
    if not repositories or asked.source not in (None, "hub", "modelscope"):
        raise ArtifactError(f"`{card.id}` names no repository there. `changeover models {card.id}` shows its sources.")
    kind: SourceKind = "modelscope" if on_modelscope else "hub"
    return module_of(kind).list_files(repositories[0], asked.revision, terms.access)


def _say_what_is_left(choice: Choice) -> None:
    if choice.pickles:
        note(f"refused: {', '.join(choice.pickles[:5])} (pickle runs code when it is read)")
    if choice.left:
        more = f" and {len(choice.left) - 5} more" if len(choice.left) > 5 else ""
        note(f"not taken: {', '.join(choice.left[:5])}{more}")


def _approved_code(card: Card, code: RemoteCode, terms: Terms, asked: Asked) -> RemoteCode | None:
    """The code that is fetched too; None: none.

    Raises:
        ArtifactError: There is some, and nobody has approved just that.
    """
    permission = judge_code(card.id, code, terms.policy)
    if not code:
        return None
    note(f"code of {card.id} that an engine would run:")
    for line in code.asked_by:
        note(f"  {line}")
    for file in code.files:
        note(f"  {file.sha256}  {file.size_bytes:>9,} bytes  {file.path}")
    note(f"  {code.sha256}  the whole list")
    if permission.allowed:
        note(permission.says)
        return code
    if asked.without_code:
        note("none of it is fetched, and no engine is told to trust it")
        return None
    raise ArtifactError(f"{permission.says} Nothing is fetched; `--without-code` takes the weights alone.")


def _pin(card: Card, artifact: Artifact, project: Project | None) -> Path | None:
    """Write the file that pins an artifact into the project's library; outside a project, show it."""
    text = as_toml(card.id, artifact, SystemClock().now().date())
    if project is None:
        note(f"# no project here: put this into a file below `library/{PULLED}` of yours\n{text}")
        return None
    directory = project.cards / PULLED
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{card.id}.{artifact.sha256[:8]}.toml"
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
    return file
