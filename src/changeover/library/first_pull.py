"""The first pull of a repository that nobody has pinned yet: what is taken of it, and the artifact that pins it from then on.

Trust on first use, and said so: the hub's own digests are compared where it states them, and what arrived the first time is
what every later pull has to be. A person who knows the right digests elsewhere compares them with the file that is written.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Final, Self

from changeover.core.digest import BLOCK_BYTES, sha256_file
from changeover.core.errors import ArtifactError
from changeover.library import safetensors
from changeover.library.artifacts import Artifact, ArtifactFile, HubSource, digest_of_files
from changeover.library.cards import Card
from changeover.library.fetch import http
from changeover.library.fetch.access import Access
from changeover.library.fetch.contents import INDEX, is_pickle, is_taken
from changeover.library.fetch.listing import Listed, Listing
from changeover.library.fetch.progress import Progress
from changeover.library.fetch.remote import ByPath
from changeover.library.pull import locked, module_of, storage_errors
from changeover.library.remote_code import RemoteCode, code_of, is_code

MOST_CODE_BYTES: Final = 4 << 20
"""Of one file of code."""
MOST_UNPINNED_BYTES: Final = 1 << 30
"""Of one file whose digest the hub does not state: such files lie in git, which takes no large ones."""
_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")
_QUANTISATION: Final = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?I?Q\d\w*|TQ\d_\d|BF16|F16|F32|FP16|FP32|MXFP4|NVFP4)(?![A-Za-z0-9])", re.I
)
_OF_CODE: Final = ("modeling_", "configuration_", "tokenization_", "processing_", "image_processing_", "pipeline")
"""How files are named that libraries of models load from a repository."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is taken of a repository, and what is not."""

    format: str
    quantisation: str | None
    """None: it is read in the weights once they are here."""
    taken: tuple[Listed, ...]
    code: tuple[Listed, ...]
    """Files of code, whether or not anything asks for them."""
    pickles: tuple[str, ...]
    left: tuple[str, ...]
    """Everything else."""


def choose(listing: Listing, quantisation: str | None) -> Choice:
    """Decide which files of a repository are its weights and what belongs to them.

    Raises:
        ArtifactError: There is nothing but pickle, or nothing at all; or several builds, of which none was named.
    """
    beside = [file for file in listing.files if is_taken(file.path) and not _is_weights(file.path)]
    tensors = [file for file in listing.files if file.path.endswith(".safetensors")]
    builds = _builds(listing.files)
    pickles = tuple(file.path for file in listing.files if is_pickle(file.path))
    wanted = None if quantisation is None else _build_named(listing, builds, tensors, quantisation)
    if wanted is None and not tensors and builds:
        if len(builds) > 1:
            raise ArtifactError(
                f"`{listing.repository}` has several builds. Name one: `--quantisation {_names(builds)}`."
            )
        wanted = next(iter(builds))
    if wanted is not None:
        taken, form, known = list(builds[wanted]), "gguf", wanted
    elif tensors:
        taken, form, known = _of_one_model(tensors, beside), "safetensors", None
    else:
        found = f"only pickle (`{pickles[0]}`), which runs code when it is read" if pickles else "no weights"
        raise ArtifactError(f"`{listing.repository}` has {found}. Only safetensors and GGUF are fetched.")
    names = {file.path for file in taken}
    code = tuple(file for file in listing.files if is_code(file.path))
    left = (file.path for file in listing.files if file.path not in names and not is_code(file.path))
    return Choice(
        format=form,
        quantisation=known,
        taken=tuple(sorted(taken, key=lambda file: file.path)),
        code=code,
        pickles=pickles,
        left=tuple(path for path in left if not is_pickle(path)),
    )


class FirstPull:
    """What of a repository is not pinned by its hub, fetched and read, so that all of it can be pinned.

    Used in a `with` block, at whose end what was fetched only to be read is gone. A second process that pulls the same
    for the first time waits for the first.
    """

    def __init__(self, listing: Listing, choice: Choice, cache: Path, progress: Progress, access: Access) -> None:
        self._listing = listing
        self._choice = choice
        self._progress = progress
        name = hashlib.sha256(f"{listing.hub} {listing.repository} {listing.revision}".encode()).hexdigest()[:16]
        self._get: ByPath = module_of("hub" if listing.hub == "huggingface" else "modelscope").getter(
            listing.repository, listing.revision, access
        )
        self._cache = cache
        self._directory = cache / "models" / f"first-{name}"
        self._held = ExitStack()
        self.have: dict[str, Path] = {}
        """Files that are here, by their paths in the artifact."""

    def __enter__(self) -> Self:
        """Wait until nobody else pulls the same for the first time.

        Raises:
            ArtifactError: The cache cannot be used; so too at the end of the block, for what failed in it.
        """
        with ExitStack() as held:
            held.enter_context(storage_errors(self._cache))
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(self._directory.with_suffix(".lock"), self._progress, passing=True))
            held.callback(shutil.rmtree, self._directory, ignore_errors=True)
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, raised, trace)

    def code(self, card: Card) -> RemoteCode:
        """What an engine would run of it. The files of code are read to be hashed, and not kept."""
        if self._choice.format == "gguf":
            return RemoteCode(files=())
        configurations = {file.path: self._json(file) for file in self._choice.taken if _may_ask(file)}
        asked = code_of((), configurations)
        needed = bool(asked) or any(PurePosixPath(file.path).name.startswith(_OF_CODE) for file in self._choice.code)
        if not needed and not card.architecture.remote_code and not _told_to_trust(card):
            return RemoteCode(files=())
        return code_of([self._read_once(file) for file in self._choice.code], configurations)

    def artifact(self, code: RemoteCode | None) -> Artifact:
        """The artifact, with a digest of every file; what the hub states no digest of is fetched for it.

        Args:
            code: Fetched too; None or empty: no code.
        """
        files = [self._pinned(file) for file in self._choice.taken]
        for file in code.files if code else ():
            listed = next(one for one in self._choice.code if one.path == file.path)
            if self._pinned(listed) != file:
                raise ArtifactError(f"`{file.path}` changed while it was fetched. Pull again.")
            files.append(file)
        source = HubSource(repository=self._listing.repository, revision=self._listing.revision, hub=self._listing.hub)
        shared: dict[str, Any] = {"format": self._choice.format, "quantisation": self._choice.quantisation or "unknown"}
        if self._choice.format == "gguf" and len(files) == 1:
            [one] = files
            if one.path in self.have:
                self.have["model.gguf"] = self.have.pop(one.path)
            sources = (source.model_copy(update={"file": one.path}),)
            return Artifact(size_bytes=one.size_bytes, sha256=one.sha256, sources=sources, **shared)
        return Artifact(
            size_bytes=sum(file.size_bytes for file in files),
            sha256=digest_of_files(files),
            files=tuple(sorted(files, key=lambda file: file.path)),
            sources=(source,),
            **shared,
        )

    def _json(self, file: Listed) -> Any:
        try:
            return json.loads(self._fetched(file).read_bytes())
        except (ValueError, RecursionError) as exc:
            raise ArtifactError(f"`{file.path}` of `{self._listing.repository}` is not JSON. Nothing is kept.") from exc

    def _pinned(self, file: Listed) -> ArtifactFile:
        if file.sha256 is not None:
            return self._hashed(file, file.sha256)
        return self._hashed(file, sha256_file(self._fetched(file)))

    def _hashed(self, file: Listed, sha256: str) -> ArtifactFile:
        return ArtifactFile(path=file.path, size_bytes=file.size_bytes, sha256=sha256)

    def _fetched(self, file: Listed) -> Path:
        """A file in our directory, compared with what the hub says of it."""
        place = self._directory / file.path
        if file.path in self.have:
            return place
        if file.size_bytes > MOST_UNPINNED_BYTES:
            raise ArtifactError(
                f"The hub states no digest of `{file.path}`, which is too large for that. It is not fetched."
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.part")
        self._progress.start(f"read {file.path}", file.size_bytes)
        try:
            self._get(file.path, file.size_bytes, file.sha256, part, self._progress.advance)
        finally:
            self._progress.finish()
        right = _is_what_the_hub_says(file, part)
        if right:
            part.replace(place)
            self.have[file.path] = place
        http.discard(part)
        if not right:
            raise ArtifactError(
                f"`{file.path}` of `{self._listing.repository}` is not what the hub says of it. Nothing is kept. Pull again."
            )
        return place

    def _read_once(self, file: Listed) -> ArtifactFile:
        """A file of code with its digest; what was read is not kept."""
        if file.size_bytes > MOST_CODE_BYTES:
            raise ArtifactError(
                f"`{file.path}` is code of {file.size_bytes} bytes, more than anybody reads. Nothing is kept."
            )
        place = self._fetched(file)
        del self.have[file.path]
        try:
            return self._hashed(file, sha256_file(place))
        finally:
            place.unlink()


def quantisation_of(artifact: Artifact, directory: Path) -> str:
    """What weights are kept as: by their configuration, else by the type that most of their bytes are of."""
    try:
        method = json.loads((directory / "config.json").read_bytes())["quantization_config"]["quant_method"]
    except (OSError, ValueError, LookupError, TypeError):
        method = None
    if isinstance(method, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,40}", method):
        return method
    shards = [directory / file.path for file in artifact.files if file.path.endswith(".safetensors")]
    largest = max(shards, key=lambda path: path.stat().st_size)
    return safetensors.read_header(largest).main_dtype or "empty"


def as_toml(card: str, artifact: Artifact, on: date) -> str:
    """The file that pins an artifact: read by the catalogue, which gives it to its card."""
    [source] = artifact.sources
    assert isinstance(source, HubSource)  # nothing else is pulled for the first time
    lines = [
        f"# Written by `changeover pull` on {on}, the first time that these files were fetched: trust on first use.",
        "# Every later pull has to give exactly them. To fetch them from elsewhere too, add to `artifact.sources`.",
        "",
        "[[artifacts]]",
        f"card = {_toml(card)}",
        f"first_pulled = {on}",
        "",
        "[artifacts.artifact]",
        f"format = {_toml(artifact.format)}",
        f"quantisation = {_toml(artifact.quantisation)}",
        f"size_bytes = {artifact.size_bytes}",
        f"sha256 = {_toml(artifact.sha256)}",
    ]
    if artifact.files:
        lines.append("files = [")
        lines += [
            f"  {{ path = {_toml(file.path)}, size_bytes = {file.size_bytes}, sha256 = {_toml(file.sha256)} }},"
            for file in artifact.files
        ]
        lines.append("]")
    lines += ["", "[[artifacts.artifact.sources]]"]
    lines += [f"{key} = {_toml(value)}" for key, value in source.model_dump(exclude_none=True).items()]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    # JSON writes what lies beyond 16 bits as two halves, which TOML refuses.
    return json.dumps(text, ensure_ascii=False)


def _is_weights(path: str) -> bool:
    return path.endswith((".safetensors", ".gguf"))


def _builds(files: Sequence[Listed]) -> dict[str, list[Listed]]:
    """GGUF files by what they are kept as; the parts of one build together."""
    found: dict[str, list[Listed]] = {}
    for file in files:
        if file.path.endswith(".gguf") and "mmproj" not in file.path.lower():
            stem = _SHARD.sub("", file.path)
            match = _QUANTISATION.search(stem)
            found.setdefault(match[1].upper() if match else PurePosixPath(stem).stem, []).append(file)
    return found


def _build_named(
    listing: Listing, builds: Mapping[str, list[Listed]], tensors: Sequence[Listed], quantisation: str
) -> str | None:
    for name in builds:
        if name.casefold() == quantisation.casefold():
            return name
    if builds and not tensors:
        raise ArtifactError(
            f"`{listing.repository}` has no build `{quantisation}`. Name one of these: {_names(builds)}."
        )
    return None


def _names(builds: Mapping[str, list[Listed]]) -> str:
    return " | ".join(sorted(builds))


def _of_one_model(tensors: Sequence[Listed], beside: Sequence[Listed]) -> list[Listed]:
    """One set of weights with its configuration, where a repository keeps it in several forms.

    At the top, unless the repository is of a pipeline, whose parts are in directories.
    """
    pipeline = any(file.path == "model_index.json" for file in beside)
    chosen = list(tensors) if pipeline else [file for file in tensors if "/" not in file.path]
    chosen = chosen or list(tensors)
    named = [file for file in chosen if PurePosixPath(file.path).name.startswith(("model", "diffusion_"))]
    if named and not pipeline:  # `consolidated.safetensors` and adapters are the same weights again, or others
        chosen = named
    directories = {str(PurePosixPath(file.path).parent) for file in chosen}
    indexed = {file.path for file in beside if file.path.endswith(INDEX)}
    kept = [
        file
        for file in beside
        if pipeline or str(PurePosixPath(file.path).parent) in {".", *directories}
        if file.path not in indexed or _has_shards(file.path, chosen)
    ]
    return [*chosen, *kept]


def _has_shards(index: str, chosen: Sequence[Listed]) -> bool:
    return any(file.path.startswith(index.removesuffix(INDEX)) for file in chosen)


def _may_ask(file: Listed) -> bool:
    name = PurePosixPath(file.path).name
    return name.endswith(("config.json", "model_index.json")) and file.size_bytes < MOST_CODE_BYTES


def _told_to_trust(card: Card) -> bool:
    return any(
        "trust-remote-code" in recipe.command or "trust_remote_code" in recipe.command for recipe in card.recipes
    )


def _is_what_the_hub_says(file: Listed, path: Path) -> bool:
    if file.sha256 is not None:
        return sha256_file(path) == file.sha256
    if file.git_blob is None:
        return True
    blob = hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            blob.update(block)
    return blob.hexdigest() == file.git_blob
