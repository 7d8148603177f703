"""`changeover library` in a real project: what is kept, what is shown, what is refused, and that cards stay as they are."""

import hashlib
import json
import shutil
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select
from tests.support import stores
from tests.support.fake_hub import FakeHub, Fault, fake_hub
from tests.support.projects import open_written, write_project

from changeover.app.installation import Installation, open_installation
from changeover.app.library_sync import standing_conflicts, sync_reading
from changeover.cli.main import run_command
from changeover.core.errors import UnknownModelError
from changeover.core.settings import open_project
from changeover.library.catalogue import Catalogue
from changeover.library.licences.queries import open_reviews, texts
from changeover.library.observations import SIGNALS, Observation
from changeover.library.queries import (
    Sync,
    add_observations,
    add_sync,
    confirm,
    last_syncs,
    newest_signals,
    observation_history,
    observations_of,
    observed_names,
    said_last,
)
from changeover.library.sources import snapshot
from changeover.library.sources.reading import LicenceText, Reading, Row, Said
from changeover.store.schema import library_syncs, observations

TOKEN = "hf_canary_70aa51e9f3bb"
MODEL: dict[str, Any] = {
    "id": "openai/gpt-oss-20b",
    "name": "GPT OSS 20B",
    "release_date": "2025-08-05",
    "modalities": {"input": ["text"], "output": ["text"]},
    "open_weights": True,
    "cost": {"input": 0.1, "output": 0.5},
    "limit": {"context": 131072, "output": 32768},
}
"""A row by hand in the shape of models.dev's `api.json` (MIT)."""


class Ended(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = write_project(tmp_path / "p")
    open_written(directory).store.close()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("COLUMNS", "200")
    return directory


@pytest.fixture
def run(project: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Ended:
        capsys.readouterr()
        return Ended(run_command(["library", *arguments]), *capsys.readouterr())

    return call


@pytest.fixture
def installation(project: Path) -> Generator[Installation]:
    opened = open_installation(open_project(project))
    yield opened
    opened.store.close()


def api(**rows: dict[str, Any]) -> bytes:
    """A list with one host for each row."""
    return json.dumps({host: {"name": host, "models": {row["id"]: row}} for host, row in rows.items()}).encode()


def written(installation: Installation) -> tuple[int, int]:
    """Rows of observations and of syncs."""
    with installation.store.read() as connection:
        counts = [
            connection.execute(select(func.count()).select_from(each)).scalar_one()
            for each in (observations, library_syncs)
        ]
    return counts[0], counts[1]


def cards_as_they_are() -> str:
    return repr(Catalogue.load().cards())


def test_a_sync_shows_what_is_new_and_what_conflicts_and_changes_no_card(project: Path, run: Run) -> None:
    before = cards_as_they_are()
    newcomer = {**MODEL, "id": "lab/newcomer-9", "name": "Newcomer 9", "release_date": "2026-11-20"}
    (project / "api.json").write_bytes(api(groq={**MODEL, "limit": {"context": 131000, "output": 1}}, lab=newcomer))
    ended = run("sync", "models.dev", "--file", "api.json")
    assert ended.status == 0
    assert "new models    1 without a card, 1 of them with open weights" in ended.out
    assert "newcomer-9" in ended.out
    assert "hosted.groq.price = $0.1 / $0.5 per million" in ended.out
    assert "gpt-oss-20b  context_tokens\n" in ended.out
    assert "131072  counts, by grade  card, repository," in ended.out
    assert "131000  models.dev, registry," in ended.out
    assert "No card was changed. To adopt a fact, write it with its source into a card" in " ".join(ended.out.split())
    assert cards_as_they_are() == before


def test_the_same_input_again_is_nothing_new_and_writes_only_that_it_was_read(
    project: Path, run: Run, installation: Installation
) -> None:
    (project / "api.json").write_bytes(api(groq=MODEL))
    run("sync", "models.dev", "--file", "api.json")
    rows, syncs = written(installation)
    with installation.store.read() as connection:
        before = connection.execute(select(observations)).fetchall()
    ended = run("sync", "models.dev", "--file", "api.json")
    assert "nothing new" in ended.out
    assert written(installation) == (rows, syncs + 1)
    with installation.store.read() as connection:
        assert connection.execute(select(observations)).fetchall() == before


def test_another_input_that_says_the_same_confirms_it(project: Path, run: Run, installation: Installation) -> None:
    (project / "api.json").write_bytes(api(groq=MODEL))
    run("sync", "models.dev", "--file", "api.json")
    rows, _ = written(installation)
    (project / "api.json").write_bytes(api(groq={**MODEL, "tool_call": True}))
    assert "nothing new" in run("sync", "models.dev", "--file", "api.json").out
    assert written(installation)[0] == rows
    with installation.store.read() as connection:
        assert all(row.confirmed_at > row.seen_at for row in connection.execute(select(observations)))


def test_a_new_price_is_a_new_entry_and_the_old_one_stays(project: Path, run: Run, installation: Installation) -> None:
    for cost in ({"input": 0.1, "output": 0.5}, {"input": 0.05, "output": 0.25}):
        (project / "api.json").write_bytes(api(groq={**MODEL, "cost": cost}))
        ended = run("sync", "models.dev", "--file", "api.json")
    assert "hosted.groq.price: $0.1 / $0.5 per million → $0.05 / $0.25 per million" in ended.out
    with installation.store.read() as connection:
        history = observation_history(connection, "gpt-oss-20b", "hosted.groq.price")
        [now] = [each for each in observations_of(connection, "gpt-oss-20b") if each.fact == "hosted.groq.price"]
    assert [each.value["input_usd_per_million_tokens"] for each in history] == [0.1, 0.05]
    assert now == history[1]
    shown = json.loads(run("observations", "gpt-oss-20b", "--fact", "hosted.groq.price", "--json").out)
    assert [each["value"]["output_usd_per_million_tokens"] for each in shown] == [0.5, 0.25]


def test_a_dry_run_shows_the_same_and_keeps_nothing(project: Path, run: Run, installation: Installation) -> None:
    (project / "api.json").write_bytes(api(groq=MODEL))
    tried = run("sync", "models.dev", "--file", "api.json", "--dry-run")
    assert "dry run: nothing was kept" in tried.out
    assert written(installation) == (0, 0)
    real = run("sync", "models.dev", "--file", "api.json")
    assert tried.out.replace("  dry run: nothing was kept\n", "") == real.out


def test_half_a_file_is_one_sentence_and_nothing_is_written(
    project: Path, run: Run, installation: Installation
) -> None:
    (project / "api.json").write_bytes(api(groq=MODEL)[:-40])
    ended = run("sync", "models.dev", "--file", "api.json")
    assert (ended.status, ended.out) == (2, "")
    assert "`api.json` is not whole JSON" in ended.err
    assert written(installation) == (0, 0)


def test_a_source_is_kept_whole_or_not_at_all(installation: Installation) -> None:
    said = Said(fact="weights", value="open", locator="row", grade="registry")
    reading = Reading(
        source="hub",
        where="here",
        digest="0" * 64,
        summary="one row",
        rows=(Row(name="one", card="gpt-oss-20b", said=(said,)),),
        texts=(LicenceText(card="nobody", sha256="1" * 64, source="here"),),
    )
    with pytest.raises(UnknownModelError):
        sync_reading(installation, reading, "test")
    assert written(installation) == (0, 0)
    with installation.store.read() as connection:
        assert texts(connection) == []


def test_without_the_network_the_lists_and_hubs_are_refused_and_the_rest_is_read(run: Run) -> None:
    for source in ("hub", "models.dev", "litellm", "xinference", "vllm-recipes"):
        ended = run("sync", source)
        assert ended.status == 2
        assert "`sources.online` is false. Add `--online`" in ended.err
    ended = run("sync", "--json")
    assert ended.status == 0
    assert [each["source"] for each in json.loads(ended.out)["sources"]] == ["snapshot", "genai-prices"]


def test_a_name_that_no_source_has_is_answered_with_the_nearest(run: Run) -> None:
    ended = run("sync", "model.dev")
    assert ended.status == 2
    assert "No source named `model.dev`. Did you mean `models.dev`?" in ended.err
    assert "`--file` is of one source" in run("sync", "--file", "api.json").err
    assert "No source said anything of `gpt-oss-21b` yet." in run("observations", "gpt-oss-21b").err


def test_conflicts_are_listed_until_somebody_adopts_one(project: Path, run: Run) -> None:
    assert run("conflicts").status == 0
    (project / "api.json").write_bytes(api(groq={**MODEL, "limit": {"context": 131000, "output": 1}}))
    run("sync", "models.dev", "--file", "api.json", "--as-of", "2026-11-29")
    ended = run("conflicts", "gpt-oss-20b", "--json")
    assert ended.status == 1
    [found] = json.loads(ended.out)
    assert (found["card"], found["fact"], found["because"]) == ("gpt-oss-20b", "context_tokens", "grade")
    assert found["against"][0]["on"] == "2026-11-29"
    assert "No card named `gpt-oss`." in run("conflicts", "gpt-oss").err


@pytest.fixture
def online(project: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    """A hub with one of the cards that ship, and a project that may ask it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with fake_hub() as hub:
        hub.token = TOKEN
        hub.add("openai/gpt-oss-20b", {"config.json": b"{}", "LICENSE": b"You may.\n"}, likes=9, downloads=100)
        with (project / "changeover.toml").open("a") as file:
            file.write(f'[sources]\nonline = true\nhub_endpoint = "{hub.address}"\n')
        yield hub


HUB = ("sync", "hub", "--card", "gpt-oss-20b")


def test_a_hub_is_asked_and_a_licence_text_that_is_not_the_cards_waits_for_a_person(
    online: FakeHub, run: Run, installation: Installation
) -> None:
    ended = run(*HUB)
    assert ended.status == 0
    assert "signals       " in ended.out
    digest = hashlib.sha256(b"You may.\n").hexdigest()
    assert f"the licence's text changed: somebody has to read it  gpt-oss-20b  {digest[:16]}…" in ended.out
    with installation.store.read() as connection:
        assert list(open_reviews(connection, installation.catalogue.cards())) == ["gpt-oss-20b"]
        assert newest_signals(connection)["gpt-oss-20b"]["signals.likes"].value == 9
    assert "licence" not in run(*HUB).out, "the same text again is no news"


def test_a_text_that_is_new_to_a_card_without_a_digest_is_noted_and_its_change_waits(
    online: FakeHub, run: Run, installation: Installation
) -> None:
    repository = online.add("zai-org/GLM-4.6", {"LICENSE": b"You may.\n"})
    assert "licence text noted  glm-4.6" in run("sync", "hub", "--card", "glm-4.6").out
    repository.commit({"LICENSE": b"You may not.\n"})
    tried = run("sync", "hub", "--card", "glm-4.6", "--dry-run")
    assert "the licence's text changed: somebody has to read it  glm-4.6" in tried.out
    with installation.store.read() as connection:
        assert len(texts(connection)) == 1, "a dry run notes nothing"
    assert "licence.text_sha256" in run("sync", "hub", "--card", "glm-4.6").out
    with installation.store.read() as connection:
        assert list(open_reviews(connection, installation.catalogue.cards())) == ["glm-4.6"]


def test_of_a_model_whose_terms_are_others_at_the_source_it_is_said_what_the_policy_makes_of_them(
    online: FakeHub, run: Run, project: Path
) -> None:
    (project / "policy.toml").write_text('operates_in = ["SG"]\nmonthly_users = 10\ncommercial = true\n')
    described = {"license": "other", "license_name": "minimax-m2.7-non-commercial"}
    repository = online.add("MiniMaxAI/MiniMax-M2", {"LICENSE": b"You may.\n"}, cardData=described)
    sync = ("sync", "hub", "--card", "minimax-m2")
    shown = " ".join(run(*sync, "--dry-run").out.split())
    assert (
        "policy minimax-m2 ok, with duties by its card; under `minimax-m2.7-non-commercial`, as is said here: " in shown
    )
    assert "needs a person, clause" in shown.split("as is said here: ")[1]
    [position] = json.loads(run(*sync, "--json").out)["sources"][0]["positions"]
    assert (position["outcome"], position["outcome_at_source"]) == ("duties", "person")
    assert json.loads(run(*sync, "--json").out)["sources"][0]["positions"] == [], "it is said once"
    repository.facts["cardData"] = {"license": "other", "license_name": "MiniMax-M2-Modified-MIT"}
    repository.commit({"LICENSE": b"You may not.\n"})
    shown = " ".join(run(*sync).out.split())
    assert "policy minimax-m2 ok, with duties by the text that was known" in shown
    assert "as is said here" not in shown, "the card's own licence, in another spelling"


def test_a_hub_that_answers_nonsense_writes_nothing(online: FakeHub, run: Run, installation: Installation) -> None:
    online.fail("/api/models/", Fault(status=200, body=b"[1, 2"), times=100)
    ended = run(*HUB)
    assert (ended.status, ended.out) == (1, "")
    assert "no answer of a hub" in ended.err
    assert written(installation) == (0, 0)


def test_one_source_that_fails_stops_no_other(online: FakeHub, run: Run) -> None:
    online.fail("/api/models/", Fault(status=200, body=b"[1, 2"), times=100)
    (Path.cwd() / "signals.jsonl").write_bytes(b"")
    ended = run("sync", "hub", "snapshot", "--json")
    assert ended.status == 1
    printed = json.loads(ended.out)
    assert [each["source"] for each in printed["sources"]] == ["snapshot"]
    assert [each["source"] for each in printed["failed"]] == ["hub"]


def test_the_token_is_nowhere_afterwards(online: FakeHub, run: Run, project: Path) -> None:
    said = [*run(*HUB), *run(*HUB, "--json")]
    online.fail("/api/models/", Fault(status=400, body=TOKEN.encode(), headers={"X-Error-Message": TOKEN}), times=100)
    said += run(*HUB)
    assert TOKEN in str(online.requests[0].headers), "it was sent"
    assert TOKEN not in str(said)
    files = [file for file in project.rglob("*") if file.is_file()]
    assert any(file.name == "changeover.db" for file in files)
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]


def test_everything_that_models_dev_lists_is_kept(installation: Installation, project: Path, run: Run) -> None:
    rows = {
        f"host{host}": {
            "name": f"host{host}",
            "models": {
                f"lab/model-{(host * 7 + place) % 900}": {
                    **MODEL,
                    "id": "x",
                    "name": f"Model {(host * 7 + place) % 900}",
                }
                for place in range(36)
            },
        }
        for host in range(187)
    }
    (project / "api.json").write_text(json.dumps(rows))
    ended = run("sync", "models.dev", "--file", "api.json", "--json")
    assert ended.status == 0
    assert json.loads(ended.out)["sources"][0]["read"] == "6732 rows of 187 hosts"
    assert written(installation)[0] > 10_000


def test_a_snapshot_is_imported_by_hand(project: Path, run: Run, installation: Installation) -> None:
    line = {
        "card": "glm-4.6",
        "fact": "signals.likes",
        "value": 1300,
        "source": "its page",
        "grade": "vendor",
        "read": "2026-11-29",
    }
    file = project / "mine.jsonl"
    file.write_text(json.dumps(line) + "\n")
    assert run("sync", "snapshot", "--file", str(file)).status == 0
    with installation.store.read() as connection:
        found = newest_signals(connection)["glm-4.6"]
    assert found["signals.likes"].value == 1300
    assert found["signals.likes"].seen_at == datetime(2026, 11, 29, tzinfo=UTC)
    assert found["signals.providers"].value == 27, "what ships is there too"
    for wrong, said in (
        ({"fact": "likes"}, "`likes` is no signal"),
        ({"value": -1}, "is not a number from 0"),
        ({"value": 10**400}, "too large"),
        ({"value": "many"}, "a number is expected"),
        ({"fact": "signals.last_commit"}, "a date is expected"),
        ({"grade": "rumour"}, "Invalid enum value 'rumour'"),
        ({"likes": 3}, "unknown field `likes`"),
        ({"read": "yesterday"}, "Invalid RFC3339"),
    ):
        file.write_text(json.dumps(line) + "\n" + json.dumps(line | wrong) + "\n")
        ended = run("sync", "snapshot", "--file", str(file))
        assert ended.status == 2
        assert "line 2" in ended.err
        assert said in " ".join(ended.err.split())


def test_every_signal_that_ships_is_of_a_card_and_says_where_it_was_read() -> None:
    known = {card.id for card in Catalogue.load().cards()}
    shipped = snapshot.shipped_signals()
    assert len(shipped) > 30
    for each in shipped:
        assert each.card in known
        assert each.fact in SIGNALS
        assert each.locator
        assert each.grade in ("registry", "excerpt")
    likes = {each.card: each.value for each in shipped if each.fact == "signals.likes"}
    assert (likes["hunyuan-image-3.0"], likes["hunyuan3d-omni"], likes["hunyuan3d-part"]) == (997, 117, 500)


def test_a_project_that_was_never_started_can_be_looked_at_and_says_how_to_keep_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    fresh = write_project(tmp_path / "fresh")
    monkeypatch.chdir(fresh)
    assert "never read" in run("sync", "--list").out
    assert "dry run: nothing was kept" in run("sync", "snapshot", "--dry-run").out
    assert "no source was read yet" in run("conflicts").err
    assert run("observations", "glm-4.6").err.endswith("`changeover library sync` reads them.\n")
    ended = run("sync", "snapshot")
    assert (ended.status, "Start it once with `changeover up`; the store stays" in ended.err) == (1, True)
    assert not (fresh / ".changeover").exists()


def test_the_sources_are_listed_with_when_they_were_read(run: Run) -> None:
    assert "never read" in run("sync", "--list").out
    run("sync", "snapshot")
    listed = json.loads(run("sync", "--list", "--json").out)
    assert listed[0]["source"] == "snapshot"
    assert listed[0]["last"]["summary"]["new"] == len(snapshot.shipped_signals())
    assert listed[1]["last"] is None


def test_recipes_are_read_from_a_directory(project: Path, run: Run) -> None:
    (project / "recipes" / "models" / "openai").mkdir(parents=True)
    recipe = 'model:\n  model_id: "openai/gpt-oss-20b"\n  min_vllm_version: "0.9.0"\n'
    (project / "recipes" / "models" / "openai" / "gpt-oss-20b.yaml").write_text(recipe)
    ended = run("sync", "vllm-recipes", "--file", "recipes")
    assert "engines.vllm.since" in ended.out
    assert run("sync", "litellm", "--file", "recipes").status == 2
    shutil.rmtree(project / "recipes")


OBSERVED = Observation(
    card="a",
    fact="signals.likes",
    value=1,
    source="hub",
    locator="a/a",
    grade="registry",
    as_of=date(2026, 11, 1),
    seen_at=datetime(2026, 11, 2, tzinfo=UTC),
)


def test_observations_are_the_same_on_either_database(store_url: str) -> None:
    store = stores.made(store_url)
    newer = replace(OBSERVED, value=2, as_of=date(2026, 11, 3))
    older = replace(OBSERVED, value=3, source="snapshot", as_of=date(2026, 1, 1))
    with store.write() as connection:
        add_observations(connection, [OBSERVED, newer, older])
        add_observations(connection, [])
        [*_, last] = said_last(connection, "hub").values()
        confirm(connection, [last.id], datetime(2026, 11, 4, tzinfo=UTC))
        confirm(connection, [], datetime(2026, 11, 4, tzinfo=UTC))
        for at in (datetime(2026, 11, 4, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC)):
            add_sync(connection, Sync(source="hub", input_digest="0" * 64, actor="t", summary={"read": 1}, at=at))
    with store.read() as connection:
        assert observations_of(connection, "a") == [newer, older]
        assert observation_history(connection, "a", "signals.likes") == [OBSERVED, newer, older]
        assert said_last(connection, "hub")["a", "signals.likes"].observation == newer
        assert newest_signals(connection)["a"] == {"signals.likes": newer}
        assert observed_names(connection) == ["a"]
        assert last_syncs(connection)["hub"].at.day == 5
    store.close()


def test_of_many_days_the_newest_signal_counts_in_whatever_order_they_were_read(store_url: str) -> None:
    store = stores.made(store_url)
    days = [replace(OBSERVED, value=day, as_of=date(2026, 10, day)) for day in (5, 30, 1)]
    undated = replace(OBSERVED, value=77, fact="signals.downloads_30d", as_of=None)
    later = replace(undated, value=78, seen_at=undated.seen_at + timedelta(days=1))
    seen_after_all = replace(OBSERVED, value=99, card="b", as_of=None, source="snapshot")
    with store.write() as connection:
        add_observations(connection, [*days, later, undated, replace(days[0], card="b"), seen_after_all])
    with store.read() as connection:
        found = newest_signals(connection)
        assert found["a"]["signals.likes"].value == 30
        assert found["a"]["signals.downloads_30d"].value == 78
        assert found["b"]["signals.likes"].value == 99
        last = said_last(connection, "hub")
        assert last["a", "signals.likes"].observation.value == 1
        assert last["b", "signals.likes"].observation.value == 5
        assert said_last(connection, "snapshot").keys() == {("b", "signals.likes")}
    store.close()


def test_conflicts_of_models_without_a_card_are_nobodys(installation: Installation) -> None:
    with installation.store.write() as connection:
        add_observations(connection, [replace(OBSERVED, fact="x", value=n, source=str(n)) for n in (1, 2)])
    assert standing_conflicts(installation) == []


def test_misuse_names_the_help_of_the_command_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["library", "observations"]) == 2
    assert "`changeover library observations --help`" in capsys.readouterr().err
