"""The Hugging Face Hub, or what speaks its routes: signals, metadata and the licence's text of the cards that have a repository.

Counts mean what the hub means by them: `downloads` are those of 30 days, of query files such as `config.json`, so that
caches and automatic tests count too; relations of derivatives are partly inferred by the hub.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any, Final, cast

import httpx2
from huggingface_hub import HfApi, ModelInfo, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

from changeover import __version__
from changeover.core.digest import sha256_value
from changeover.core.errors import SourceError
from changeover.core.secrets import without_registered
from changeover.core.settings import SourceSettings
from changeover.library.cards import Card
from changeover.library.sources.network import USUAL, Bounds, careful, token_of
from changeover.library.sources.reading import LARGEST, LicenceText, Reading, Row, Said, said_if

NAME = "hub"
RELATIONS: Final = {
    "finetune": "signals.finetunes",
    "adapter": "signals.adapters",
    "merge": "signals.merges",
    "quantized": "signals.quantised",
}
MOST_DISCUSSIONS: Final = 1_000
SAMPLED_DISCUSSIONS: Final = 10
"""The newest ones are looked into for the time until somebody else replied."""
MOST_SHARDS: Final = 8
"""Of files whose headers are read; with more the hub's own count is taken."""
WANTED: Final = (
    "sha", "downloads", "downloadsAllTime", "likes", "gated", "lastModified", "cardData", "config", "safetensors",
    "siblings", "tags", "baseModels",
)  # fmt: skip
_LICENCE = re.compile(r"(model[-_])?licen[cs]e([-_][\w-]+)?(\.(txt|md))?", re.IGNORECASE)
_WEIGHTS = re.compile(r"(model|model-\d{5}-of-\d{5})\.safetensors")
_PICKLE = re.compile(r".*\.(bin|pt|pth|ckpt|pkl)")
_FLOATING = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Number formats of which one number is one parameter; others are packed."""
ABSENT: Final = (401, 403, 404)


class _AbsentError(Exception):
    """The hub shows no such repository to us."""


@dataclass(frozen=True)
class _Found:
    row: Row
    text: LicenceText | None
    notes: tuple[str, ...]


def read(
    cards: Sequence[Card],
    settings: SourceSettings,
    today: date,
    *,
    progress: Callable[[str], None] = lambda _: None,
    bounds: Bounds = USUAL,
) -> Reading:
    """What the hub says of the cards' own repositories, the vendor's first one of each.

    Raises:
        SourceError: The hub cannot be reached, answers nonsense, or shows none of the repositories.
    """
    asked = [card for card in cards if card.repositories]
    token = token_of(settings.hub_token_variable)
    found: list[_Found] = []
    notes: list[str] = []
    with careful(f"The hub `{settings.hub_endpoint}`", settings, bounds) as client:
        api = HfApi(
            endpoint=settings.hub_endpoint.rstrip("/"),
            token=token or False,
            library_name="changeover",
            library_version=__version__,
        )
        hub = _Hub(api, client, token, today, bounds.most_listed)
        for card in asked:
            progress(card.id)
            try:
                found.append(hub.about(card))
            except _AbsentError as exc:
                notes.append(f"`{card.id}`: the hub shows no repository `{card.repositories[0]}` ({exc})")
    if asked and not found:
        raise SourceError(
            f"The hub `{settings.hub_endpoint}` shows none of {len(asked)} repositories. {notes[0]}. "
            f"Check `sources.hub_endpoint`, and the token in {settings.hub_token_variable}. Nothing was written."
        )
    rows = tuple(each.row for each in found)
    return Reading(
        source=NAME,
        where=settings.hub_endpoint,
        digest=sha256_value([[row.name, [[said.fact, said.value] for said in row.said]] for row in rows]),
        summary=f"{len(found)} of {len(asked)} repositories",
        rows=rows,
        texts=tuple(each.text for each in found if each.text is not None),
        notes=(*notes, *(note for each in found for note in each.notes)),
    )


class _Hub:
    """One hub, while it is asked."""

    def __init__(self, api: HfApi, client: httpx2.Client, token: str | None, today: date, most_listed: int) -> None:
        self._api = api
        self._client = client
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._today = today
        self._most_listed = most_listed

    def about(self, card: Card) -> _Found:
        """Everything about one card's repository, at the commit that it has now."""
        repository = card.repositories[0]
        with _usable(repository):
            info = self._api.model_info(repository, expand=list(WANTED))
            commit = _text(info.sha, "sha")
            files = [sibling.rfilename for sibling in info.siblings or ()]
        at = f"{repository}@{commit[:12]}"
        notes: list[str] = []
        text = self._licence(card, repository, commit, files)
        said = [
            *self._facts(info, files, at),
            *self._signals(info, repository, notes),
            *self._parameters(info, repository, commit, files, notes),
        ]
        if text is not None:
            said.append(Said(fact="licence.text_sha256", value=text.sha256, locator=text.source, grade="package"))
        return _Found(Row(name=repository, card=card.id, said=tuple(said)), text, tuple(notes))

    def _facts(self, info: ModelInfo, files: list[str], at: str) -> Iterator[Said]:
        with _usable(at):
            described: dict[str, Any] = info.card_data.to_dict() if info.card_data is not None else {}
            config = cast("dict[str, Any]", info.config or {})
            relation = _table(info.base_models).get("relation")
            licence = described.get("license")
            bases = _listed(described.get("base_model"))
            vendor = {
                "licence.id": described.get("license_name") or licence if licence == "other" else licence,
                "gated": bool(info.gated),
                "languages": _listed(described.get("language")),
                "lineage.base": bases[0] if len(bases) == 1 and relation in (None, "finetune") else None,
                "weights": "open",
            }
            classes = _listed(config.get("architectures"))
            from_files: dict[str, Any] = {
                "architecture.transformers_class": classes[0] if classes else None,
                "architecture.model_type": config.get("model_type"),
                "architecture.remote_code": "auto_map" in config or "custom_code" in (info.tags or ()),
                "architecture.pickle": _only_pickle(files),
            }
        yield from said_if(vendor, at, "vendor")
        yield from said_if(from_files, at, "package")

    def _signals(self, info: ModelInfo, repository: str, notes: list[str]) -> Iterator[Said]:
        counts: dict[str, Any] = {}
        with _usable(repository):
            counts["signals.downloads_30d"] = _count(info.downloads, "downloads")
            counts["signals.downloads_all_time"] = _count(info.downloads_all_time, "downloadsAllTime")
            counts["signals.likes"] = _count(info.likes, "likes")
            if info.last_modified is not None:
                counts["signals.last_commit"] = info.last_modified.date().isoformat()
            for relation, signal in RELATIONS.items():
                listed = self._api.list_models(filter=f"base_model:{relation}:{repository}")
                counts[signal] = sum(1 for _ in islice(listed, self._most_listed))
                if counts[signal] == self._most_listed:
                    notes.append(f"`{repository}`: `{signal}` is {self._most_listed} or more")
        counts |= self._discussions(repository, notes)
        yield from said_if(counts, f"{repository}, asked on {self._today}", "registry", self._today)

    def _discussions(self, repository: str, notes: list[str]) -> dict[str, Any]:
        """Threads by state, and the median hours until somebody else said something."""
        try:
            with _usable(repository):
                listed = self._api.get_repo_discussions(repository, discussion_type="discussion")
                threads = list(islice(listed, MOST_DISCUSSIONS))
                replies = [self._first_reply_hours(repository, one.num) for one in threads[:SAMPLED_DISCUSSIONS]]
        except _AbsentError:
            notes.append(f"`{repository}`: its discussions are turned off")
            return {}
        answered = [hours for hours in replies if hours is not None]
        still_open = sum(one.status == "open" for one in threads)
        return {
            "signals.discussions_open": still_open,
            "signals.discussions_closed": len(threads) - still_open,
            "signals.first_reply_hours": round(statistics.median(answered), 1) if answered else None,
        }

    def _first_reply_hours(self, repository: str, number: int) -> float | None:
        thread = self._api.get_discussion_details(repository, number)
        others = [
            event.created_at for event in thread.events if event.type == "comment" and event.author != thread.author
        ]
        return (min(others) - thread.created_at).total_seconds() / 3600 if others else None

    def _parameters(
        self, info: ModelInfo, repository: str, commit: str, files: list[str], notes: list[str]
    ) -> Iterator[Said]:
        """Billions of parameters, counted in the headers of the files, of which only the beginning is read."""
        weights = sorted(name for name in files if _WEIGHTS.fullmatch(name))
        counts: dict[str, int] = {}
        if 0 < len(weights) <= MOST_SHARDS:
            grade, at = "package", f"{repository}@{commit[:12]}: headers of {len(weights)} safetensors files"
            try:
                with _usable(repository):
                    for name in weights:
                        header = self._api.parse_safetensors_file_metadata(repository, name, revision=commit)
                        for kind, count in header.parameter_count.items():
                            counts[kind] = counts.get(kind, 0) + count
            except (SafetensorsParsingError, NotASafetensorsRepoError) as exc:
                notes.append(f"`{repository}`: a safetensors header cannot be read ({_first_line(exc)})")
                return
            except _AbsentError:
                notes.append(f"`{repository}`: its files are given out only with a token that may read them")
                return
        else:
            grade, at = "registry", f"{repository}: counted by the hub"
            with _usable(repository):
                counts = dict(info.safetensors.parameters) if info.safetensors is not None else {}
        if counts and counts.keys() <= _FLOATING:
            with _usable(repository):
                value = round(sum(counts.values()) / 1e9, 4)
                said = Said(fact="parameters_b", value=value, locator=at, grade=grade)
            yield said

    def _licence(self, card: Card, repository: str, commit: str, files: list[str]) -> LicenceText | None:
        """The digest of the licence's text, at the commit."""
        names = sorted((name for name in files if _LICENCE.fullmatch(name)), key=lambda name: (len(name), name))
        if not names:
            return None
        url = hf_hub_url(repository, names[0], revision=commit, endpoint=self._api.endpoint)
        with _usable(repository):
            answer = self._client.get(url, headers=self._headers)
        if answer.status_code in ABSENT:
            return None
        if answer.status_code != 200:
            raise SourceError(f"`{repository}`: the hub answers {answer.status_code} for `{names[0]}`.")
        digest = hashlib.sha256(answer.content).hexdigest()
        return LicenceText(card=card.id, sha256=digest, source=f"{repository}@{commit}/{names[0]}")


@contextmanager
def _usable(repository: str) -> Generator[None]:
    """Tell what is not there from what cannot be used."""
    try:
        yield
    except HfHubHTTPError as exc:
        status = exc.response.status_code
        if status in ABSENT:
            raise _AbsentError(f"it answers {status}") from exc
        raise SourceError(f"`{repository}`: the hub answers {status}. Nothing was written; try again later.") from exc
    except (SafetensorsParsingError, NotASafetensorsRepoError):
        raise
    except httpx2.HTTPError as exc:
        raise SourceError(f"`{repository}`: the hub cannot be used ({_first_line(exc)}). Nothing was written.") from exc
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
        raise SourceError(
            f"`{repository}`: the hub answers something that is no answer of a hub "
            f"({type(exc).__name__}: {_first_line(exc)}). Nothing was written; check `sources.hub_endpoint`."
        ) from exc


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"`{key}` is no text")
    return value


def _count(value: object, key: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < LARGEST:
        raise TypeError(f"`{key}` is no count")
    return value


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _listed(value: object) -> list[str]:
    """A text, or a list of them, as models' descriptions have it."""
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str) and each]


def _only_pickle(files: list[str]) -> bool | None:
    """Whether the weights come only in a form that runs code when it is read; None: there are no weights."""
    if any(name.endswith((".safetensors", ".gguf")) for name in files):
        return False
    return True if any(_PICKLE.fullmatch(name) for name in files) else None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return without_registered(lines[0][:160]) if lines else type(error).__name__
