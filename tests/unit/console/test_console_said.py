"""Every sentence that the rooms below write, and a page shows, is said in every language of the console."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po
from tests.support.sentences import Sentence, raised_by, sentences_of

from changeover.console.languages import ENGLISH, LANGUAGES, SENTENCES, sentences_in, texts_in
from changeover.console.said import Catalogue, Pattern, pattern_of, said, said_by

ROOMS = Path(str(files("changeover")))
CONSOLE = ROOMS / "console"
OTHERS = [language for language in LANGUAGES if language != ENGLISH]

WHOLE = (
    "app/comparisons.py",
    "app/licence_checks.py",
    "app/lookout.py",
    "app/planning/again.py",
    "app/planning/answer.py",
    "app/planning/attached.py",
    "app/planning/here.py",
    "app/planning/hosted.py",
    "app/planning/needs.py",
    "app/planning/sources.py",
    "app/planning/terms.py",
    "app/planning/there.py",
    "app/planning/wish.py",
    "app/planning/words.py",
    "app/room.py",
    "app/standing.py",
    "app/trial_lines.py",
    "app/trials.py",
    "app/tried.py",
    "evals/budget.py",
    "evals/report/plots.py",
    "evals/report/reason.py",
    "evals/trials.py",
    "library/fit/answer.py",
    "library/fit/context.py",
    "library/fit/embedded.py",
    "library/fit/judge.py",
    "library/fit/outright.py",
    "library/fit/remedies.py",
    "library/licences/conditions.py",
    "library/licences/judge.py",
    "library/licences/words.py",
    "library/scores/engines.py",
    "library/scores/familiarity.py",
    "library/scores/flags.py",
    "library/scores/support.py",
    "library/states.py",
    "library/successors.py",
    "library/timeline.py",
    "rollouts/begin.py",
    "rollouts/decide.py",
    "rollouts/exchange.py",
    "rollouts/gate.py",
    "rollouts/guards.py",
    "rollouts/overrides.py",
    "serving/fleet.py",
    "serving/first_answer.py",
    "serving/memory.py",
    "serving/process.py",
    "serving/restart.py",
    "serving/status.py",
)
"""Modules all of whose sentences reach a page."""
SOME = {
    "app/fit_words.py": ("rows_of",),
    "app/licence_position.py": ("policy_line", "why"),
    "app/lockin/report.py": ("_Reading",),
    "evals/canary.py": ("LatencyReference",),
    "evals/judges/bias.py": ("doubt",),
    "evals/report/words.py": ("headline",),
    "rollouts/actions.py": ("refuse",),
}
"""Functions and classes of which that is so."""
RAISED = (
    "app/admin.py",
    "app/apply.py",
    "app/asking.py",
    "app/bench.py",
    "app/deploy.py",
    "app/exchange.py",
    "app/fetching.py",
    "app/installation.py",
    "app/keeping.py",
    "app/kept.py",
    "app/keys.py",
    "app/local.py",
    "app/matching.py",
    "app/named.py",
    "app/readiness.py",
    "app/planning",
    "app/shadow_scoring.py",
    "app/steering.py",
    "app/switching.py",
    "app/timeline.py",
    "app/tuning.py",
    "console",
    "evals/datasets/read.py",
    "evals/datasets/queries.py",
    "gateway/admin.py",
    "gateway/admit.py",
    "gateway/authenticate.py",
    "gateway/keys.py",
    "gateway/limits.py",
    "gateway/uploads.py",
    "gateway/waiting.py",
    "rollouts/actions.py",
    "rollouts/exchange.py",
    "rollouts/gate.py",
    "serving/deployments.py",
    "serving/refusals.py",
    "tasks/declarations.py",
    "tools/access.py",
    "tools/calls.py",
    "tools/check.py",
    "tools/documents",
    "tools/functions.py",
    "tools/inputs.py",
    "tools/jobs.py",
)
"""Modules and rooms whose refusals do."""
NOT_SHOWN = re.compile(
    r"^(?:changeover |curl |python |vllm |llama-server |--|https?://)"  # commands
    r"|^(?:curve|whisker|spot|unit|bound|band|label|gain|loss|even-odds)\b[\w -]*$"  # looks of a picture's parts
    r"|^\w+\[str, \w+\]$"  # types
)
NEVER = frozenset(
    {
        "a restart follows a failure",  # faults of ours: the log has them
        "the task was looked up by its route",
        "there is a project",
        "`71` is no duration in milliseconds.",
        "Say yes.",  # to a model
        "`71` refused the request: ",  # taken away
        "under way",  # states, which pages name by themselves
        "override ended",
        "71 is 72 as 73 on 74",  # each of the four claims has a pattern of its own
        "71 is 72 than 73 on 74",
        "Whoever uses it must",  # beginnings
        "Whoever passes it on or offers it to others must",
        "Whoever gives out its files must",
        "Whoever uses it commercially must",
        "Whoever publishes its outputs must",
    }
)


def shown() -> list[Sentence]:
    """Every sentence of the modules above."""
    found = [each for name in WHOLE for each in sentences_of(ROOMS / name)]
    found += [each for name, functions in SOME.items() for each in sentences_of(ROOMS / name, functions)]
    for name in RAISED:
        modules = sorted((ROOMS / name).rglob("*.py")) if (ROOMS / name).is_dir() else [ROOMS / name]
        found += [each for module in modules for each in raised_by(module)]
    return [each for each in found if not NOT_SHOWN.match(each.told()) and each.told() not in NEVER]


def unsaid(sentence: Sentence, language: str) -> str | None:
    """What is wrong with a sentence in a language: it is not said, or loses a value."""
    told = sentence.told()
    there = said(language, told)
    if there == told:
        return "is not said"
    lost = [value for value in sentence.values() if value not in there]
    return f"loses {', '.join(lost)}: {there}" if lost else None


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_that_a_page_can_show_is_said_in(language: str) -> None:
    wrong = {f"{each.where}: {each.told()!r}": why for each in shown() if (why := unsaid(each, language)) is not None}
    assert not wrong, "\n".join(f"{where} {why}" for where, why in wrong.items())


def test_a_new_reason_is_noticed(tmp_path: Path) -> None:
    module = tmp_path / "new.py"
    module.write_text(
        'def why(count: int, bad: bool) -> str:\n    what = "broke" if bad else "bent"\n'
        '    return f"{count} answers {what} for a reason that is new"\n',
        encoding="utf-8",
    )
    found = list(sentences_of(module))
    assert [each.told() for each in found] == [
        "71 answers broke for a reason that is new",
        "71 answers bent for a reason that is new",
    ]
    assert [unsaid(each, "ja") for each in found] == ["is not said"] * 2


@pytest.mark.parametrize("language", OTHERS)
def test_a_pattern_and_what_it_says_name_the_same_values_in(language: str) -> None:
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}

    wrong = [english for english, says in sentences_in(language).items() if names(says) != names(english)]
    doubled = [
        english
        for english in sentences_in(language)
        if len(names(english)) != sum(name is not None for _, name, _, _ in Formatter().parse(english))
    ]
    kinds = [says for says in sentences_in(language).values() if any(kind for _, _, kind, _ in Formatter().parse(says))]
    assert not wrong, "\n".join(wrong)
    assert not doubled, "\n".join(doubled)
    assert not kinds, "only the English one says what stands in a place: " + "\n".join(kinds)


@pytest.mark.parametrize("language", OTHERS)
def test_values_of_several_words_are_not_cut_wrongly_in(language: str) -> None:
    """Of two places with a space between, the first has a kind without spaces, or both stand together in the language too."""
    for english, says in sentences_in(language).items():
        pattern = pattern_of(english, says)
        for place, between in enumerate(pattern.literals[1:-1]):
            (first, kind), (second, _) = pattern.places[place : place + 2]
            together = f"{{{first}}}{between}{{{second}}}" in says
            assert between.strip() or kind not in ("", "said", "each", "own") or together, english


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize(
    ("sentence", "values"),
    [
        (
            "In the European Union, the United Kingdom and South Korea {}; you do not operate there.",
            ("it may not be used", "neither it nor its outputs may be used"),
        ),
        (
            "With more than 1,000,000 monthly users {}; say how many you have: `monthly_users` in the policy.",
            ("“M” must be displayed prominently", "a licence of its own is needed from the licensor"),
        ),
    ],
)
def test_a_clause_is_said_whole(sentence: str, values: tuple[str, ...], language: str) -> None:
    for value in values:
        told = said(language, sentence.format(value))
        assert not re.search(r"\b(?:users|used|needed|displayed|operate|say)\b", told), told


@pytest.mark.parametrize("language", OTHERS)
def test_no_pattern_fails_or_loses_what_stands_in_it_in(language: str) -> None:
    samples = {"number": "7", "size": "2 GiB", "odds": "7 : 1", "day": "2026-01-02", "word": "m7"}
    for english, says in sentences_in(language).items():
        pattern = pattern_of(english, says)
        values = [samples.get(kind, "what nobody wrote") for _, kind in pattern.places]
        told = "".join(literal + value for literal, value in zip(pattern.literals, [*values, ""], strict=True))
        there = said(language, told)
        assert all(value in there for value in values), english


@pytest.mark.parametrize("language", OTHERS)
def test_no_pattern_stands_twice_in(language: str) -> None:
    seen: dict[str, str] = {}
    for file in sorted((CONSOLE / "locale" / language).glob(f"{SENTENCES}*.po")):
        with file.open("rb") as opened:
            for message in read_po(opened, locale=language):
                if message.id:
                    assert str(message.id) not in seen, f"{message.id}: {seen[str(message.id)]}, {file.name}"
                    seen[str(message.id)] = file.name


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_that_the_console_says_in_python_is_there_in(language: str) -> None:
    known = texts_in(language)
    missing: list[str] = []
    for module in sorted(CONSOLE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = {"tell": 0, "translated": 1}.get(name)
            if place is None or len(node.args) <= place:
                continue
            text = node.args[place]
            if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value not in known:
                missing.append(f"{module.name}:{node.lineno}: {text.value!r}")
            elif isinstance(text, ast.JoinedStr):
                missing.append(f"{module.name}:{node.lineno}: made of parts, which no catalogue can have")
    assert not missing, "\n".join(missing)


def test_a_sentence_is_found_again_with_its_values_and_the_sentences_in_it() -> None:
    made = Catalogue(
        {
            "{name} waits: {why:said}": "{name} は待機中「{why}」",
            "{count:number} of {all:number} requests failed": "{all} 件中 {count} 件失敗",
            "it is late": "遅れています",
            "is on {places:each}": "{places} にあります",
            "the moon": "月",
            ", ": "、",
        }
    )
    assert made.say("`m7` waits: 3 of 1,200 requests failed") == "`m7` は待機中「1,200 件中 3 件失敗」"
    assert made.say("a waits: b waits: it is late") == "a は待機中「b は待機中「遅れています」」"
    assert made.say("is on the moon, mars") == "月、mars にあります"
    assert made.say("It is late. Nobody knows this.") == "It is late. Nobody knows this."
    assert made.say("some of most requests failed") == "some of most requests failed"  # no numbers


def test_what_nobody_wrote_and_what_people_wrote_stays_as_it_is() -> None:
    assert said("ja", "nobody wrote this sentence") == "nobody wrote this sentence"
    assert said("en", "the evaluation failed") == "the evaluation failed"
    assert said("ja", "the evaluation failed") == said_by("ja", "the evaluation failed", "changeover")
    assert said_by("ja", "the evaluation failed", "ana") == "the evaluation failed"
    assert said_by("ja", "m passed review", "ana") == "m passed review"


@pytest.mark.parametrize(
    "reason", ["the evaluation failed", "it is too slow; its evidence no longer holds", "no worse"]
)
@pytest.mark.parametrize("words", ["key:ana stopped it: ", "paused by key:ana: "])
def test_a_reason_stays_as_somebody_wrote_it_within_a_sentence_of_ours(words: str, reason: str) -> None:
    told = said("ja", f"{words}{reason}")
    assert told.endswith(reason)
    assert not told.startswith(words)


@pytest.mark.parametrize(
    "reason",
    ["first start; declared in mail.toml", "m passed cmp_01-7h", "m passed cmp_01-7h, trial 3", "begun in the console"],
)
def test_a_reason_that_we_write_for_whoever_gives_none_is_said(reason: str) -> None:
    assert said_by("ja", reason, "ana") == said("ja", reason) != reason


@pytest.mark.parametrize("text", ["`" * 3_900, "a: " * 1_300, "{}" * 2_000, "of 7 : 1 " * 440, "x" * 100_000, ""])
def test_a_text_of_whoever_wants_to_keep_us_busy_is_looked_for_once_and_comes_back(text: str) -> None:
    looked: list[str] = []

    class Counting(Catalogue):
        def patterns(self, text: str) -> Iterator[Pattern]:
            looked.append(text)
            return super().patterns(text)

    assert Counting(sentences_in("ja")).say(text) == text
    assert len(looked) == len(set(looked)) < 2_000


def test_a_pattern_that_could_be_cut_in_any_way_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing stands before `b`"):
        pattern_of("{a}{b} is late", "")
    with pytest.raises(ValueError, match="no kind `thing`"):
        pattern_of("{a:thing} is late", "")
