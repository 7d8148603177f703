# ruff: noqa: RUF001 - Japanese
"""The `politeness` scorer on Japanese sentences, right and wrong, whose faults are known."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from tests.unit.evals.register_replies import LATER_REPLIES, OWN, REPLIES

from changeover.core.errors import ConfigError
from changeover.evals.answers import Answer
from changeover.evals.datasets import Message, Sample
from changeover.evals.scorers import politeness
from changeover.evals.scorers.base import Case, Score, Setting
from changeover.evals.scorers.politeness import SCORER, PolitenessOptions, prepare, score_politeness
from changeover.evals.scorers.politeness.morphemes import PACKAGES, sentences

needs_analyser = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason="the extra `japanese` is not installed"
)

TUNED = [
    ("弊社の田中社長がおっしゃいました。", "honorific", ["in-group"]),
    ("弊社の田中が申しました。", "honorific", []),
    ("お客様が申されたことを確認いたします。", "honorific", ["humble"]),
    ("お客様がおっしゃったことを確認いたします。", "honorific", []),
    ("この資料をお読みになられましたか。", "honorific", ["double"]),
    ("この資料をお読みになりましたか。", "honorific", []),
    ("お元気になられて、何よりでございます。", "honorific", []),
    ("社長がそうおっしゃられました。", "honorific", ["double"]),
    ("こちらでお召し上がりになりますか。", "honorific", []),
    ("明日の十時にお伺いいたします。", "honorific", []),
    ("資料をご覧になられましたでしょうか。", "honorific", ["double"]),
    ("こちらの資料を拝見してください。", "honorific", ["humble"]),
    ("こちらの資料をご覧ください。", "honorific", []),
    ("ご確認してください。", "honorific", ["humble"]),
    ("ご確認くださいますようお願い申し上げます。", "honorific", []),
    ("山田部長様にお伝えいたします。", "honorific", ["double"]),
    ("弊社の佐藤さんがご案内いたします。", "honorific", ["in-group"]),
    ("弊社の佐藤がご案内いたします。", "honorific", []),
    ("担当の者がいらっしゃいますので、少々お待ちください。", "honorific", ["in-group"]),
    ("担当の者が参りますので、少々お待ちください。", "honorific", []),
    ("お客様が参られましたら、ご案内いたします。", "honorific", ["humble"]),
    ("お客様がいらっしゃいましたら、ご案内いたします。", "honorific", []),
    ("弊社の田中がご案内いたしますので、受付までお越しください。", "honorific", []),
    ("お客様がご希望の商品を本日お送りいたしました。", "honorific", []),
    ("お客様のご注文は確認いたしました。", "honorific", []),
    ("私の父がおっしゃっていました。", "polite", ["in-group"]),
    ("明日は晴れです。傘はいらない。", "polite", ["plain"]),
    ("明日は晴れです。傘はいりません。", "polite", []),
    ("すぐに確認しろ。", "polite", ["blunt", "plain"]),
    ("早く返事をしなさい。", "polite", ["blunt"]),
    ("早めのお返事をお願いします。", "polite", []),
    ("今日は暑いね。明日も暑いらしい。", "casual", []),
    ("今日は暑いですね。明日も暑いらしい。", "casual", ["polite"]),
    ("今日は暑いね。明日も暑いらしい。", "polite", ["plain"]),
    ("返品は可能です。", "honorific", ["no-honorific"]),
    ("返品を承ります。", "honorific", []),
    ("資料は三つあります。\n- 見積書\n- 契約書\n- 仕様書", "polite", []),
    ("## 概要\n新しい機能を追加しました。", "polite", []),
    ("本機能は来月から利用できる。", "polite", ["plain"]),
    ("ご利用できます。", "honorific", ["humble"]),
    ("ご利用いただけます。", "honorific", []),
    ("部長は「もう帰る」とおっしゃいました。", "polite", []),
    ("うん、それでいいと思うよ。", "casual", []),
    ("承知いたしました。担当者より折り返しご連絡いたします。", "honorific", []),
    ("先生はお帰りになられました。", "polite", ["double"]),
    ("先生は先ほど帰られました。", "polite", []),
    ("弊社の社長はただいま外出されています。", "honorific", ["in-group", "no-honorific"]),
    ("弊社の社長はただいま外出しております。", "honorific", []),
    ("お前の言うことは違います。", "polite", ["blunt"]),
    ("ご不明な点がございましたら、お気軽にお問い合わせください。", "honorific", []),
    ("お待ちしてください。", "honorific", ["humble"]),
    ("資料を拝見させていただきました。", "honorific", ["double"]),
    ("資料を拝見いたしました。", "honorific", []),
    ("お客様が提出いたした書類を確認しました。", "honorific", ["humble"]),
    ("とんでもございません。", "honorific", []),
]
"""The rules were written and mended with these: text, wanted level, kinds of faults."""
HELD_OUT = [
    ("弊社の鈴木部長が明日御社にいらっしゃいます。", "honorific", ["in-group"]),
    ("弊社の鈴木が明日御社に参ります。", "honorific", []),
    ("当社の高橋課長がご説明いたします。", "honorific", ["in-group"]),
    ("当社課長の高橋がご説明いたします。", "honorific", []),
    ("私がなさいますので、ご安心ください。", "honorific", ["in-group"]),
    ("私がいたしますので、ご安心ください。", "honorific", []),
    ("母が先生にお目にかかりたいと申しております。", "honorific", []),
    ("母が先生のお宅に伺いたいとおっしゃっています。", "honorific", ["in-group"]),
    ("御社の社長が申していた件についてご連絡いたします。", "honorific", ["humble"]),
    ("御社の社長がおっしゃっていた件についてご連絡いたします。", "honorific", []),
    ("山本様がお越しになられました。", "honorific", ["double"]),
    ("山本様がお越しになりました。", "honorific", []),
    ("お客様は何時にお帰りになられますか。", "honorific", ["double"]),
    ("お客様はデザートを召し上がられますか。", "honorific", ["double"]),
    ("お客様はデザートを召し上がりますか。", "honorific", []),
    ("お客様は何をいたしますか。", "honorific", ["humble"]),
    ("お客様は何になさいますか。", "honorific", []),
    ("皆様が拝見した資料はこちらでございます。", "honorific", ["humble"]),
    ("皆様がご覧になった資料はこちらでございます。", "honorific", []),
    ("お見えになりましたら、お声をおかけください。", "honorific", []),
    ("詳しくは受付で伺ってください。", "honorific", ["humble"]),
    ("詳しくは受付でお尋ねください。", "honorific", []),
    ("株式会社青空の木村社長様、いつもお世話になっております。", "honorific", ["double"]),
    ("関係者各位様にお知らせいたします。", "honorific", ["double"]),
    ("お客様各位にお知らせいたします。", "honorific", []),
    ("ご乗車できません。", "honorific", ["humble"]),
    ("ご案内できます。", "honorific", []),
    ("先生がそのように申されました。", "polite", ["humble"]),
    ("先生がお亡くなりになられました。", "polite", ["double"]),
    ("会議は三時からです。場所は第二会議室だ。資料は後で送ります。", "polite", ["plain"]),
    ("会議は三時からです。場所は第二会議室です。資料は後で送ります。", "polite", []),
    ("売上は前年より4%増えた。主な理由は値上げである。", "polite", ["plain"]),
    ("売上は前年より4%増えました。主な理由は値上げです。", "polite", []),
    ("さっさと払え。", "polite", ["blunt", "plain"]),
    ("黙って待っていろ。", "honorific", ["blunt", "no-honorific", "plain"]),
    ("もう一度試してみてください。", "polite", []),
    ("もう一度試してみて。", "casual", []),
    ("もう一度試してみて。", "polite", ["plain"]),
    ("ありがとう、助かったよ。", "casual", []),
    ("ありがとうございます、助かりました。", "casual", ["polite"]),
    ("ご連絡ありがとうございます。明日発送いたします。", "honorific", []),
    ("はい、できます。", "polite", []),
    ("明日届きます。", "honorific", ["no-honorific"]),
    ("手順は次のとおりです。\n1. 電源を切る\n2. 10秒待つ\n3. 電源を入れる", "polite", []),
    ("設定を開き、「保存する」を押してください。", "polite", []),
    ("それは良い考えだと思います。", "polite", []),
    ("雨が降るかもしれません。", "polite", []),
    ("行くべきではないでしょうか。", "polite", []),
    ("明日までに送っていただけますか。", "honorific", []),
    ("弊社の製品はお使いになりましたか。", "honorific", []),
    ("弊社の製品が多くのお客様に使われています。", "polite", []),
    ("弊社からのメールはご覧になりましたか。", "honorific", []),
    ("お客様がお持ちの書類を確認いたします。", "honorific", []),
    ("お客様が入力された内容を確認いたしました。", "honorific", []),
    ("お客様がお待ちしております。", "honorific", ["humble"]),
    ("お客様がお待ちです。ご案内いたします。", "honorific", []),
    ("お客様をお待たせしてしまい、申し訳ございません。", "honorific", []),
    ("恐れ入りますが、お名前を伺ってもよろしいでしょうか。", "honorific", []),
]
"""Written before the rules and tried once: 27 of 27 faults found, none found wrongly."""
LATER = [
    (
        "平素よりお世話になっております。株式会社青空の山田でございます。先日お送りいただいた資料を拝見しました。つきましては、来週お打ち合わせの機会をいただけますと幸いです。何卒よろしくお願い申し上げます。",
        "honorific",
        [],
    ),
    (
        "お問い合わせいただき、誠にありがとうございます。ご注文の商品は、明日お届けする予定です。到着まで今しばらくお待ちいただけますでしょうか。",
        "honorific",
        [],
    ),
    (
        "このたびはご不便をおかけし、申し訳ございません。弊社にて調査いたしましたところ、配送業者の手違いと判明いたしました。お客様にはすぐに新しい商品をお送りいたします。",
        "honorific",
        [],
    ),
    ("お客様がお使いの機種では、本アプリをご利用いただけません。", "honorific", []),
    ("お客様がご登録されたメールアドレスに確認コードをお送りしました。", "honorific", []),
    ("お客様は現在プレミアム会員でいらっしゃいます。", "honorific", []),
    ("弊社担当の佐々木より、追ってご連絡差し上げます。", "honorific", []),
    ("部長の山口は席を外しております。戻り次第、お電話いたします。", "honorific", []),
    ("山口部長は席を外しております。", "honorific", []),
    ("弊社の山口部長は席を外しておられます。", "honorific", ["in-group"]),
    ("先生がいただいたお菓子はこちらです。", "polite", []),
    ("先生がお菓子をいただきました。", "polite", ["humble"]),
    ("社長が参ったら知らせてください。", "polite", []),
    ("お客様、どうぞこちらのお茶をいただいてください。", "honorific", ["humble"]),
    ("ご持参してください。", "honorific", ["humble"]),
    ("詳細は担当者にお伺いください。", "honorific", ["humble"]),
    ("どうぞお召し上がりください。", "honorific", []),
    ("お客様はお酒をお召し上がりになられますか。", "honorific", ["double"]),
    ("社長はもうお休みになられた。", "casual", ["double"]),
    ("田中様がお申し出になりました。", "honorific", []),
    ("お体をお大事になさってください。", "honorific", []),
    ("ご質問がある場合は、遠慮なくおっしゃってください。", "honorific", []),
    ("私はそう思います。ただ、部長は別の案をお考えです。", "polite", []),
    ("私の兄がいらっしゃいます。", "polite", ["in-group"]),
    ("うちの課長がご覧になると言っています。", "honorific", ["in-group"]),
    ("当社の社員がお客様のお宅へいらっしゃいます。", "honorific", ["in-group"]),
    ("会議室を予約しておきました。資料も印刷しておいたよ。", "polite", ["plain"]),
    ("結論から言うと、導入すべきだ。費用は月3万円で、効果も大きい。", "polite", ["plain"]),
    ("結論から申し上げますと、導入すべきです。費用は月3万円で、効果も大きいと考えております。", "honorific", []),
    ("まず電源を切ります。次にケーブルを抜いて、1分ほど待ちます。最後にもう一度電源を入れてください。", "polite", []),
    ("とりあえず再起動してみたら？それでもだめなら教えて。", "casual", []),
    ("了解！あとで見ておくね。", "casual", []),
    ("了解です。あとで見ておきます。", "casual", ["polite"]),
    ("ここに入るな。", "polite", ["blunt", "plain"]),
    ("絶対に触らないでください。", "polite", []),
    ("やり方がわからないなら、マニュアルを読め。", "polite", ["blunt", "plain"]),
    ("いらっしゃいませ。何名様でしょうか。", "honorific", []),
    ("ごめんなさい。すぐに直します。", "polite", []),
    ("明日の会議、十時からでいいですか？", "polite", []),
    ("本書では、Pythonの基礎を学びます。第1章は環境構築です。", "polite", []),
    ("売上高は1,200万円（前年比+4%）でした。", "polite", []),
    ("ご検討のほど、よろしくお願いいたします。", "honorific", []),
    ("お客様の声を参考にさせていただきます。", "honorific", []),
    ("お客様が参加を希望される場合は、こちらからお申し込みください。", "honorific", []),
    ("会長殿にもよろしくお伝えください。", "honorific", ["double"]),
    ("私どもの社長がよろしくと申しておりました。", "honorific", []),
    ("祖母が入院されました。", "polite", ["in-group"]),
    ("御社の皆様には大変お世話になりました。", "honorific", []),
    ("お母様はお元気でいらっしゃいますか。", "honorific", []),
    ("弊社の製品をご愛用くださり、ありがとうございます。社長もお客様のお声を喜んでおります。", "honorific", []),
]
"""Written later, to be hard. At the first try 16 of 19 faults were found, and one found wrongly; then mended."""


def scored(text: str, target: Any = "polite", **options: Any) -> Score:
    sample = Sample(id="s", input=(Message(role="user", content="?"),), target=target)
    declared = PolitenessOptions(**options)
    read = SCORER.read_target(sample, declared)
    return score_politeness(Case(sample=sample, target=read, options=declared, answer=Answer(text=text)))


def kinds(score: Score) -> list[str]:
    """Kinds of the faults that were found, each once."""
    found: Any = score.detail["faults"]
    return sorted({fault["kind"] for fault in found})


@needs_analyser
@pytest.mark.parametrize(("text", "level", "faults"), TUNED + HELD_OUT + LATER)
def test_faults_are_found_and_nothing_else(text: str, level: str, faults: list[str]) -> None:
    result = scored(text, level)
    assert kinds(result) == faults, result.detail
    assert (result.value == 1.0) is (not faults)


@needs_analyser
@pytest.mark.parametrize(
    ("text", "level", "value"),
    [
        ("明日は晴れです。傘はいらない。", "polite", 0.5),
        ("明日は晴れだ。傘はいらない。", "polite", 0.0),
        ("お読みになられましたか。", "honorific", 0.85),
        ("弊社の田中社長がおっしゃいました。", "honorific", 0.4),
        ("お客様が申されました。", "honorific", 0.7),
        ("早く返事をしなさい。", "polite", 0.5),
        ("返品は可能です。", "honorific", 0.7),
        ("返品は可能です。", "polite", 1.0),
        ("さっさと払え。", "honorific", 0.0),
        ("", "polite", 0.0),
    ],
)
def test_each_fault_takes_off_its_weight(text: str, level: str, value: float) -> None:
    assert scored(text, level).value == pytest.approx(value)


@needs_analyser
def test_a_fault_is_shown_with_its_words_and_the_rule() -> None:
    assert scored("この資料をお読みになられましたか。").detail == {
        "wanted": "polite",
        "faults": [{"kind": "double", "words": "お読みになられ", "rule": "「お〜になる」と「れる」の二重敬語"}],
        "sentences": 1,
    }


@needs_analyser
def test_within_a_company_its_people_may_be_honoured() -> None:
    text = "うちの佐藤さんがご案内すると、弊社の田中部長がおっしゃいました。"
    assert kinds(scored(text)) == ["in-group"]
    assert kinds(scored(text, outside=False)) == []
    assert kinds(scored("私がおっしゃいました。", outside=False)) == ["in-group"]


@needs_analyser
@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("届きましたでしょうか？", "polite"), ("お待ちください", "polite"), ("行きましょう！", "polite"), ("お願いしたいのですが。", "polite"),
        ("そうだね。", "plain"), ("本当に助かったよ！", "plain"), ("見てみて。", "plain"), ("早いけど。", "plain"),
        ("今後の予定", None), ("ありがとう！", None), ("よろしくお願い。", None), ("田中様", None), ("OK.", None),
    ],
)  # fmt: skip
def test_sentence_ends_are_told_apart(text: str, ending: str | None) -> None:
    assert [sentence.ending for sentence in sentences(text)] == [ending]


@needs_analyser
def test_code_quotations_and_lists_may_end_as_they_like() -> None:
    text = (
        "手順は「電源を切る」です。\n\n- 電源を切る\n2. 待つ\n# まとめる\n```\n実行しろ。\n```\n以上です（そう思う）。"
    )
    assert scored(text).value == 1.0


@needs_analyser
def test_an_option_goes_before_targets_of_another_scorer() -> None:
    assert scored("はい、できます。", {"facts": [["x"]]}, level="polite").value == 1.0
    assert scored("はい、できます。", "Paris", level="polite").value == 1.0


@needs_analyser
@pytest.mark.parametrize(
    "text", ["お客様が" * 3000, "弊社の" * 5000 + "おっしゃる", "a<b:c>d" * 2000, "𠮷" * 3000, "\0"]
)
def test_strange_texts_are_scored_in_time(text: str) -> None:
    assert 0.0 <= scored(text).value <= 1.0


@needs_analyser
def test_the_analyser_is_part_of_a_scores_identity() -> None:
    found = prepare(PolitenessOptions(level="polite"), Setting())
    assert found.needs_target is False
    assert isinstance(found.fingerprint, dict)
    assert set(found.fingerprint) == set(PACKAGES)


def test_without_the_extra_the_declaration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(politeness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"changeover\[japanese\]"):
        prepare(PolitenessOptions(), Setting())


@pytest.mark.parametrize(
    ("target", "message"),
    [("formal", "names no `level`"), ({"level": "formal"}, "casual"), ({"level": "polite", "x": 1}, "`x` is no key")],
)
def test_a_target_without_a_level_is_refused(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scored("x", target)


def shop_score(reply: str, own: tuple[str, ...] = OWN) -> float:
    return politeness_score(reply, own=own).value


def politeness_score(reply: str, **options: Any) -> Score:
    return score_politeness(
        Case(
            sample=Sample(id="s", input=(Message(role="user", content="?"),), target="honorific"),
            answer=Answer(text=reply),
            target=politeness.PolitenessTarget(level="honorific"),
            options=PolitenessOptions(**options),
            prepared=None,
        )
    )


@needs_analyser
@pytest.mark.parametrize(("replies", "seen"), [(REPLIES, 75), (LATER_REPLIES, 28)])
def test_replies_of_a_shop_are_told_apart_as_a_person_tells_them_apart(
    replies: tuple[tuple[str, str, str], ...], seen: int
) -> None:
    good = [shop_score(reply) for _, label, reply in replies if label == "good"]
    bad = [shop_score(reply) for _, label, reply in replies if label != "good"]
    assert set(good) == {1.0}
    assert len(good) + sum(score < 0.9 for score in bad) >= seen


@needs_analyser
def test_own_people_have_no_titles_towards_customers_and_other_firms_people_do() -> None:
    assert shop_score("森田さんに確認いたします。") < 1.0
    assert shop_score("森田さんに確認いたします。", own=()) == 1.0
    assert shop_score("森田に確認いたします。") == 1.0
    assert shop_score("御社の担当者様に申し伝えます。") == 1.0
    assert shop_score("係の者様に申し伝えます。") < 1.0


@needs_analyser
@pytest.mark.parametrize("reply", ["We are sorry, we cannot do that.", "您好，我们不能为您办理退货，非常抱歉。"])
def test_an_answer_in_another_language_is_no_polite_japanese(reply: str) -> None:
    assert politeness_score(reply).value == 0.0
    mixed = politeness_score(f"かしこまりました。{reply}")
    assert mixed.value <= 0.5
    assert "日本語でない文" in str(mixed.detail["faults"])
