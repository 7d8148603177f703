# ruff: noqa: RUF001 - characters of many scripts are what these tests are about
"""The `language` scorer on short sentences of ten languages and on answers as models write them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from changeover.core.errors import ConfigError
from changeover.evals.answers import Answer
from changeover.evals.datasets import Message, Sample
from changeover.evals.scorers import language
from changeover.evals.scorers.base import Case, Score, Setting
from changeover.evals.scorers.language import SCORER, LanguageOptions, detect, prepare, score_language

# Written after the thresholds were set, and not used to set them.
SHORT = {
    "en": ["The invoice is attached.", "We open at nine on weekdays.", "Your account was closed in March.",
           "Call me back when you can.", "This offer ends on Friday.", "He repaired both machines."],
    "ja": ["請求書を添付しました。", "平日は九時に開店します。", "三月に口座を解約しました。", "折り返しお電話ください。",
           "返品不可", "営業時間変更"],
    "zh": ["发票已附上。", "工作日九点开门。", "您的账户已于三月关闭。", "方便时请给我回电话。", "优惠周五截止。", "貴公司的訂單已經寄出。"],
    "ko": ["청구서를 첨부했습니다.", "평일은 아홉 시에 엽니다.", "계좌는 삼월에 해지되었습니다.", "다시 전화해 주세요.",
           "이 행사는 금요일에 끝납니다.", "환불 불가"],
    "de": ["Die Rechnung liegt bei.", "Wir öffnen werktags um neun.", "Ihr Konto wurde im März geschlossen.",
           "Rufen Sie mich bitte zurück.", "Das Angebot endet am Freitag.", "Er hat beide Maschinen repariert."],
    "es": ["Adjunto la factura.", "Abrimos a las nueve entre semana.", "Su cuenta se cerró en marzo.",
           "Llámeme cuando pueda.", "La oferta termina el viernes.", "Reparó las dos máquinas."],
    "fr": ["La facture est jointe.", "Nous ouvrons à neuf heures.", "Votre compte a été fermé en mars.",
           "Rappelez-moi dès que possible.", "L'offre se termine vendredi.", "Il a réparé les deux machines."],
    "it": ["La fattura è allegata.", "Apriamo alle nove nei giorni feriali.", "Il suo conto è stato chiuso a marzo.",
           "Mi richiami quando può.", "L'offerta scade venerdì.", "Ha riparato entrambe le macchine."],
    "pt": ["A fatura está em anexo.", "Abrimos às nove nos dias úteis.", "A sua conta foi encerrada em março.",
           "Ligue-me quando puder.", "A oferta termina na sexta-feira.", "Ele consertou as duas máquinas."],
    "ru": ["Счёт во вложении.", "По будням мы открываемся в девять.", "Ваш счёт закрыли в марте.",
           "Перезвоните мне, пожалуйста.", "Акция заканчивается в пятницу.", "Он починил обе машины."],
}  # fmt: skip


def scored(answer: str, target: Any = "de", *, asked: str = "Hello.", **options: Any) -> Score:
    sample = Sample(id="s", input=(Message(role="user", content=asked),), target=target)
    declared = LanguageOptions(**options)
    read = SCORER.read_target(sample, declared)
    return score_language(Case(sample=sample, target=read, options=declared, answer=Answer(text=answer)))


def test_short_sentences_are_told_apart() -> None:
    sentences = [(code, sentence) for code, written in SHORT.items() for sentence in written]
    assert [sentence for code, sentence in sentences if scored(sentence, code).value != 1.0] == []
    wrong = [(sentence, wanted) for code, sentence in sentences for wanted in SHORT if wanted != code]
    accepted = [(sentence, wanted) for sentence, wanted in wrong if scored(sentence, wanted).value == 1.0]
    assert len(accepted) <= len(wrong) // 100, accepted  # of 540: what is said in characters alone, or in three words


MIXED = "Das Gerät ist da. Bitte starten Sie es neu. The device is on the table over there now."


@pytest.mark.parametrize(
    ("answer", "wanted", "value"),
    [
        (
            "Rufen Sie `print(the_value_of_the_day)` auf.\n```python\n# this prints the day of the week\nprint(1)\n```",
            "de",
            1,
        ),
        ("Siehe https://example.org/this/is/the/page oder help@example.org.", "de", 1),
        ("Öffnen Sie „Change your password now“ im Menü.", "de", 1),
        ("設定は Settings → General → About を開いてください。", "ja", 1),
        ("Python の list comprehension を使うと短く書けます。", "ja", 1),
        ("The word 寿司 means vinegared rice with fish.", "en", 1),
        ("The word 寿司 means vinegared rice with fish.", "ja", 0),
        ("東京都港区", "ja", 1),
        ("東京都港区", "zh", 0),
        ("检查结果：没有问题。", "ja", 0),
        ("ご質問ありがとうございます。这个问题很简单，您只需要重新启动路由器就可以了。", "ja", 0),
        (MIXED, "de", 0),
        (MIXED, ["de", "en"], 1),
        ("「承知いたしました」", "ja", 1),
        ("42", "ja", 1),
        ("```\nreturn 1\n```", "ja", 1),
        ("", "ja", 0),
        ("Danke!", "de", 1),
        ("Merci !", "de", 0),
        ("Takk for hjelpen, vi sees i morgen.", "nb", 1),
    ],
)
def test_an_answer_is_in_the_wanted_language(answer: str, wanted: Any, value: float) -> None:
    assert scored(answer, {"language": wanted}).value == value


def test_the_share_is_counted_in_letters() -> None:
    result = scored(MIXED, "de", share=True)
    assert result.value == pytest.approx(33 / 66)
    assert result.detail["first_wrong"] == "The device is on the table over there now."
    assert result.detail["its_language"] == "en"
    assert scored(MIXED, "de", least=0.4).value == 1.0


@pytest.mark.parametrize(
    ("asked", "answer", "value"),
    [
        ("Wo ist meine Bestellung?", "Sie kommt morgen.", 1),
        ("Wo ist meine Bestellung?", "It will arrive tomorrow.", 0),
        ("注文はどこですか。", "明日届きます。", 1),
        ("¿Dónde está mi pedido? ```where is it```", "Llega mañana.", 1),
    ],
)
def test_the_language_of_the_input_may_be_wanted(asked: str, answer: str, value: float) -> None:
    result = scored(answer, {"facts": [["tomorrow"]]}, asked=asked, same_as_input=True)
    assert (result.value, result.error) == (value, None)


def test_an_input_without_words_has_no_language() -> None:
    assert "nothing the user wrote has words" in str(scored("Ja.", "de", asked="1 + 1?", same_as_input=True).error)


def test_an_option_goes_before_targets_of_another_scorer() -> None:
    assert scored("Guten Morgen zusammen.", {"facts": [["x"]]}, language="de").value == 1.0
    assert scored("Guten Morgen zusammen.", "Paris", language="fr").value == 0.0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("german", "no language that can be told has the code `german`"),
        ({"language": ["de", "xx"]}, "`xx`"),
        ({"languge": "de"}, "`languge` is no key"),
        ({"language": []}, "it names no `language`"),
    ],
)
def test_a_target_that_names_no_language_is_refused(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scored("x", target)


def test_options_that_name_no_language_or_two_are_refused() -> None:
    with pytest.raises(ConfigError, match="`deu`"):
        prepare(LanguageOptions(language="deu"), Setting())
    with pytest.raises(ConfigError, match="exclude each other"):
        prepare(LanguageOptions(language="de", same_as_input=True), Setting())
    assert prepare(LanguageOptions(language="de"), Setting()).needs_target is False


def test_every_language_that_may_be_wanted_is_known_to_the_model() -> None:
    assert set(language._model().labels) >= language._KNOWN


def test_a_text_has_the_language_of_most_of_it() -> None:
    assert detect("Guten Tag. " + MIXED + " Das ist alles, vielen Dank und bis morgen früh.") == "de"
    assert detect("1 + 1 = 2") is None


@pytest.mark.parametrize("unit", ["a", "a-", "a+", "a@", "a.", "~/", "/", "`", "<a", "@", "あ"])
def test_an_answer_that_is_one_long_word_takes_no_long_time(unit: str) -> None:
    # With patterns that try each beginning and each end, seconds or minutes; a busy machine takes ten times as long.
    began = time.process_time()
    scored(unit * (30_000 // len(unit)), "en")
    assert time.process_time() - began < 2


def test_addresses_paths_and_names_of_files_are_in_no_language() -> None:
    for odd in ("ana.miller@example.com", "https://example.com/the/way/home", "the/way/home.txt", "--readme.md"):
        assert detect(f"{odd} {odd} {odd}") is None, odd
