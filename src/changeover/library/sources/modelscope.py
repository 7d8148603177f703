"""ModelScope, through its own client: downloads, likes, licence and the last change of the cards that have a repository there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from modelscope_hub import HubApi, HubConfig, HubError, NotExistError, PermissionDeniedError, RepoInfo

from changeover.core.digest import sha256_value
from changeover.core.errors import SourceError
from changeover.core.secrets import without_registered
from changeover.core.settings import SourceSettings
from changeover.library.cards import Card
from changeover.library.sources.network import token_of
from changeover.library.sources.reading import LARGEST, Reading, Row, said_if

NAME = "modelscope"
TOKEN_VARIABLE: Final = "MODELSCOPE_API_TOKEN"
"""Its client's own."""
PATIENCE: Final = 5
"""Times `sources.timeout_s` for one repository, with what the client tries again by itself."""

Result = TypeVar("Result")


def read(
    cards: Sequence[Card],
    settings: SourceSettings,
    today: date,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Reading:
    """What ModelScope says of the cards' repositories there.

    Its counts are of another hub than the signals', and stand apart from them.

    Raises:
        SourceError: It cannot be reached, answers nonsense, or shows none of the repositories.
    """
    asked = [card for card in cards if card.modelscope]
    rows: list[Row] = []
    notes: list[str] = []
    # The client keeps an identifier and a login in its directory; ours is gone when we are.
    with TemporaryDirectory(prefix="changeover-modelscope-") as directory:
        place = Path(directory)
        token = token_of(TOKEN_VARIABLE) or ""
        api = HubApi(HubConfig(endpoint=settings.modelscope_endpoint, token=token, config_dir=place, cache_dir=place))
        for card in asked:
            progress(card.id)
            repository = card.modelscope[0]
            try:
                info = _within(
                    PATIENCE * settings.timeout_s, lambda repository=repository: api.get_repo(repository, "model")
                )
            except (NotExistError, PermissionDeniedError):
                notes.append(f"`{card.id}`: ModelScope shows no repository `{repository}`")
                continue
            except (HubError, OSError, ValueError, TypeError, AttributeError) as exc:
                said = without_registered(" ".join(str(exc).split())[:200])
                raise SourceError(
                    f"ModelScope (`{settings.modelscope_endpoint}`) cannot be used for `{repository}`: {said}. "
                    "Nothing was written; try again later."
                ) from exc
            rows.append(_row(card, repository, info, today))
    if asked and not rows:
        raise SourceError(f"ModelScope shows none of {len(asked)} repositories. {notes[0]}. Nothing was written.")
    return Reading(
        source=NAME,
        where=settings.modelscope_endpoint,
        digest=sha256_value([[row.name, [[said.fact, said.value] for said in row.said]] for row in rows]),
        summary=f"{len(rows)} of {len(asked)} repositories",
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _row(card: Card, repository: str, info: RepoInfo, today: date) -> Row:
    if not _is_count(info.downloads) or not _is_count(info.likes):
        raise SourceError(
            f"`{repository}`: ModelScope answers something that is no answer of a hub. Nothing was written."
        )
    changed = info.last_modified.date().isoformat() if isinstance(info.last_modified, datetime) else None
    counts = {"modelscope.downloads": info.downloads, "modelscope.likes": info.likes, "modelscope.changed": changed}
    facts = {"licence.id": info.license if isinstance(info.license, str) else None}
    at = f"{repository}, asked on {today}"
    return Row(
        name=repository,
        card=card.id,
        said=(*said_if(counts, at, "registry", today), *said_if(facts, at, "vendor")),
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _within(seconds: float, call: Callable[[], Result]) -> Result:
    """The call's result, given up after a time: the client itself waits as long as a server asks it to.

    Raises:
        TimeoutError: It took longer.
    """
    made: list[Result] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            made.append(call())
        except Exception as exc:  # handed to who waits
            failed.append(exc)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not made:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return made[0]
