"""What is wrong with an honorific, as patterns over morphemes.

Source: Agency for Cultural Affairs of Japan, 敬語の指針 (guidelines on honorifics), 2007, chapters 2 and 3; the double
honorifics that it calls established by usage (お召し上がりになる, お見えになる, お伺いする) are right here too. One's own people
towards outsiders: its chapter 3, part 3, section 2 (ウチ・ソト). Among familiar words あなた is of section 1 there (how
to call the other), ご苦労様 of section 3 (thanks for work); the others are plain or contracted forms, and ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from changeover.evals.scorers.politeness.morphemes import Sentence, sentences


def _is(words: str = "", kind: str = "", *, base: bool = False) -> str:
    """Pattern of one morpheme: its surface, or its base, and the beginning of its kind."""
    word = f"(?:{words})" if words else "[^:>]*"
    return f"<[^:>]*:{word}:{kind}[^>]*>" if base else f"<{word}:[^:>]*:{kind}[^>]*>"


_ANY = r"<[^>]*>"
_PREFIX = _is("[おご御]", "P")
_STEM = f"(?:{_is(kind='(?:V[my]|X[my]|N|A[yg]|K)')}){{1,3}}?"
_RERU = _is("れる|られる", "X", base=True)
_HONOURED = f"(?:{_PREFIX}{_STEM}|{_is('ご覧|おいで|御覧')})"
_TITLE = _is("社長|会長|専務|常務|部長|次長|課長|係長|主任|室長|店長|所長|支店長|取締役|本部長")
_ADDRESS = _is("様|さま|さん|殿|氏|君|くん")
_FIRM = _is("弊社|当社|小社|弊行|弊店|当店|当行|うち|わが社|我が社")
_I = (
    f"(?:{_is('私|わたし|わたくし|あたし|僕|俺|私達|手前', 'R')}(?:{_is('ども|共|たち|達')})?|{_is('私ども|手前ども')})"
)
_FAMILY = _is("父|母|夫|妻|主人|家内|兄|姉|弟|妹|息子|娘|祖父|祖母|叔父|叔母")
_OF = f"(?:{_is('の', 'J')})?"
_TOPIC = _is("は|が|も", "J") + f"(?:{_is('、')})?"

# Until the predicate of the same clause: no other topic, no new clause, no clause that describes a noun.
_BETWEEN = r"(?:(?!<[はが]:|<[^:>]*:[^:>]*:(?:Jc|[VX]t))<[^>]*>|<[てで]:[^>]*>){0,10}?"
_BEFORE_VERB = r"(?:(?!<[はがも]:|<[^:>]*:[^:>]*:(?:V|X|Jc|P>(?!<[^>]*:N><を:)))<[^>]*>){0,8}?"

_RESPECTFUL = (
    f"(?:{_is('おっしゃる|仰る|いらっしゃる|なさる|召し上がる', 'V[^i]', base=True)}"
    f"|{_HONOURED}{_is('に')}{_is('なる|成る', 'V', base=True)}"
    f"|{_is('帰る|行く|来る|戻る|出る|着く|出かける|話す|言う|申す', 'Vm', base=True)}{_RERU}"
    f"|{_is('外出|出張|出席|退社|帰宅|到着|帰国|欠席|出社|入院|退院|入社')}{_is('さ')}{_RERU}"
    f"|{_PREFIX}{_is('存じ')})"
)
_HUMBLE_VERB = "申す|申し上げる|参る|伺う|存ずる|存じる|存じ上げる|承る|差し上げる|頂戴|いたす|致す"
_HUMBLE_NOUN = "拝見|拝読|拝聴|拝借|拝受|頂戴"
_NOT_HONOURED = f"(?!{_RERU})"
_HUMBLE = (
    f"(?:{_is(_HUMBLE_VERB, 'V', base=True)}{_NOT_HONOURED}"
    f"|{_is('差し')}{_is('上げる', 'V', base=True)}{_NOT_HONOURED}"
    f"|{_is(_HUMBLE_NOUN)}{_is('する|いたす|致す', 'V', base=True)}{_NOT_HONOURED}"
    f"|{_is('を')}{_is('いただく|頂く', 'V', base=True)}{_NOT_HONOURED}"
    f"|(?<!<て:て:Jc>){_is('おる', 'V', base=True)}{_NOT_HONOURED})"
)
_HUMBLE_FORM = f"{_PREFIX}{_STEM}{_is('する|いたす|致す', 'V', base=True)}{_NOT_HONOURED}"
_CUSTOMER = (
    f"(?:{_is('客')}{_is('様|さま|さん')}|{_is('御社|貴社|貴店|貴行|皆様|皆さま|皆さん|先生|お客様|お客さま')}"
    f"|{_is('御|貴')}{_is('社')}|{_is('皆')}{_is('様|さま')}|{_is(kind='H')}{_is('様|さま')})"
    f"(?:{_is('の')}(?:{_TITLE}|{_is('皆様|方')}|{_is('皆')}{_is('様|さま')}|{_is('方')}))?"
)
_NOT_THEIRS = "(?<!:の:J>)(?<!:P>)"
"""Neither 御社の担当者様 nor ご担当者様."""
_READERS_DEED = "利用|乗車|購入|入場|参加|視聴|注文|応募|登録|入会|予約|閲覧|使用|来店|来場|入力|宿泊|加入|搭乗|返品|返却|持参|退会|試着"
_LEXICAL = "手伝い|料理|掃除|祈り|願い|話|散歩|洗濯|勉強|電話|仕事"


@dataclass(frozen=True)
class Rule:
    """One way to use honorifics wrongly."""

    kind: str
    pattern: re.Pattern[str]
    because: str
    company: bool = False
    """Whether it only holds towards readers outside one's own company."""


def _rule(kind: str, pattern: str, because: str, *, company: bool = False) -> Rule:
    return Rule(kind, re.compile(pattern), because, company)


RULES: tuple[Rule, ...] = (
    _rule("double", f"{_HONOURED}{_is('に', 'J')}{_is('なる|成る', 'Vm', base=True)}{_RERU}", "「お〜になる」と「れる」の二重敬語"),
    _rule(
        "double",
        f"{_is('おっしゃる|仰る|召し上がる|いらっしゃる|なさる|くださる|下さる|召す', 'Vm', base=True)}{_RERU}",
        "尊敬語の動詞に「れる・られる」を重ねた二重敬語",
    ),
    _rule(
        "double",
        f"{_is(_HUMBLE_NOUN)}{_is('さ')}{_is('せる|させる', 'X', base=True)}{_is('て')}{_is('いただく|頂く', 'V', base=True)}",
        "謙譲語に「させていただく」を重ねた二重敬語",
    ),
    _rule("double", f"(?:{_TITLE}|{_is('各位|御中')}){_is('様|さま|殿')}", "敬称を重ねている"),
    _rule("humble", f"{_is(_HUMBLE_VERB, 'Vm', base=True)}{_RERU}", "謙譲語に「れる・られる」を付けて尊敬語にしている"),
    _rule("humble", f"{_is(_HUMBLE_NOUN)}{_is('さ')}{_RERU}", "謙譲語に「れる」を付けて尊敬語にしている"),
    _rule(
        "humble",
        f"(?:{_is('伺う|申す|申し上げる|参る', 'V', base=True)}|{_is(_HUMBLE_NOUN)}{_is('し')}|{_is('を')}{_is('いただい|頂い')})"
        f"{_is('て')}{_is('くださる|下さる', 'V', base=True)}",
        "相手の行為に謙譲語を使っている",
    ),
    _rule(
        "humble",
        f"{_PREFIX}(?!{_is(_LEXICAL)}){_STEM}{_is('し')}{_is('て')}{_is('くださる|下さる|いただける|頂ける', 'V', base=True)}",
        "「お・ご〜する」は謙譲語。相手には「お・ご〜ください」「お・ご〜いただけますか」",
    ),
    _rule("humble", f"(?:{_PREFIX}{_is('伺い')}|{_is(_HUMBLE_NOUN)}){_is('くださる|下さる', 'V', base=True)}", "相手の行為に謙譲語を使っている"),
    _rule("humble", f"{_PREFIX}{_is(_READERS_DEED)}{_is('できる|出来る', 'V', base=True)}", "「ご〜できる」は謙譲語。相手には「ご〜になれる・いただける」"),
    _rule("humble", f"{_CUSTOMER}{_TOPIC}{_BEFORE_VERB}{_HUMBLE}", "相手の行為に謙譲語を使っている"),
    _rule("humble", f"{_CUSTOMER}{_is('が')}{_BEFORE_VERB}{_HUMBLE_FORM}", "相手の行為に謙譲語を使っている"),
    _rule("in-group", f"{_FIRM}{_OF}{_is(kind='H')}(?:{_TITLE}|{_ADDRESS})", "身内の名に敬称・役職を付けている", company=True),
    _rule("in-group", f"{_is('弊社|小社|弊行|弊店')}{_is('様|さま')}", "自社に敬称を付けている", company=True),
    _rule(
        "in-group",
        f"(?:{_FIRM}(?:{_OF}(?:{_TITLE}|{_is(kind='H')}|{_ADDRESS}|{_is('者|担当|社員|スタッフ')})){{1,3}}"
        f"|{_is('担当|係')}{_OF}{_is('者')}){_TOPIC}{_BETWEEN}{_RESPECTFUL}",
        "身内の行為に尊敬語を使っている",
        company=True,
    ),
    _rule("in-group", f"(?:{_I}(?:{_is('の')}{_FAMILY})?|(?<![様先]){_FAMILY}){_TOPIC}{_BETWEEN}{_RESPECTFUL}", "自分や家族の行為に尊敬語を使っている"),
)  # fmt: skip
"""Looked for in every sentence, whatever level is wanted."""


@lru_cache(maxsize=64)
def own_rules(own: tuple[str, ...]) -> tuple[Rule, ...]:
    """Rules about one's own people, by their names or titles: no title of address after them, no respect for their deeds.

    Raises:
        ImportError: The extra is not installed.
    """
    named = [
        "".join(_is(re.escape(part.surface)) for sentence in sentences(name) for part in sentence.morphemes)
        for name in own
    ]
    person = f"(?:{'|'.join(filter(None, named)) or '(?!)'})"
    return (
        _rule("in-group", f"{person}(?:{_TITLE}|{_ADDRESS})", "身内の名に敬称・役職を付けている", company=True),
        _rule(
            "in-group",
            f"{_NOT_THEIRS}(?:{_is('担当|係|配送|店')}{_OF}){{1,2}}{_is('者|員')}{_is('様|さま|さん')}",
            "身内に敬称を付けている",
            company=True,
        ),
        _rule("in-group", f"{person}{_TOPIC}{_BETWEEN}{_RESPECTFUL}", "身内の行為に尊敬語を使っている", company=True),
    )


_COMMAND = re.compile(
    f"(?<!<ごめん:ごめん:N>)(?!{_is('くださる|下さる|いらっしゃる|ます', base=True)})"
    rf"<[^:>]*:[^:>]*:[VX]i>(?:<[^>]*:(?:M|Jf)>)*$|{_is(kind='Vs')}<な:な:Jf>(?:{_is(kind='M')})*$"
)
_GREETING = re.compile("(?:ごめん|おやすみ|お休み|お帰り|おかえり)なさい")
_RUDE = re.compile(_is("お前|おまえ|てめえ|貴様|あんた|こいつ|そいつ|あいつ|やつ|奴", "[RN]"))
_HONORIFIC = re.compile(
    f"{_is(_HUMBLE_VERB + '|いただく|いただける|頂く|頂ける|ござる|賜る|かしこまる', 'V', base=True)}"
    f"|{_is('おっしゃる|仰る|いらっしゃる|なさる|召し上がる', 'V', base=True)}|{_is('くださる|下さる', 'V[^i]', base=True)}"
    f"|{_is(_HUMBLE_NOUN + '|ご覧|ご存じ')}|{_is('差し')}{_is('上げる', 'V', base=True)}|{_is('て')}{_is('おる', 'V', base=True)}"
    f"|{_PREFIX}{_STEM}(?:{_is('する|いたす|致す|くださる|下さる|できる|申し上げる|です|の', base=True)}|{_is('に')}{_is('なる', 'V', base=True)})"
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in an answer."""

    kind: str
    words: str
    because: str


def faults(sentence: Sentence, *, outside: bool, own: tuple[str, ...] = ()) -> Iterator[Fault]:
    """Honorifics that a sentence uses wrongly; of those that overlap only the first in the order of the rules.

    Args:
        sentence: To look at.
        outside: Whether the reader belongs to another company.
        own: Names and titles of one's own people.
    """
    written = sentence.written
    taken: list[tuple[int, int]] = []
    for rule in (*RULES, *(own_rules(own) if own else ())):
        if rule.company and not outside:
            continue
        for match in rule.pattern.finditer(written):
            start, end = match.span()
            if all(end <= before or start >= after for before, after in taken if rule.kind != "in-group"):
                taken.append((start, end))
                yield Fault(rule.kind, _surfaces(match.group()), rule.because)


def blunt(sentence: Sentence) -> Fault | None:
    """A command or a rude word for a person; None where there is none."""
    if (match := _RUDE.search(sentence.written)) is not None:
        return Fault("blunt", _surfaces(match.group()), "相手や人を見下す言い方")
    if _COMMAND.search(sentence.written) is not None and not _GREETING.search(sentence.text):
        return Fault("blunt", sentence.text[-20:], "命令形で終わっている")
    return None


_FAMILIAR_WORDS = re.compile(
    f"{_is('あなた|貴方|きみ', 'R')}|{_is('てる|とく|ちゃう|じゃう', base=True)}"
    f"|{_is('です|ます|た|ん', 'X')}{_is('よ', 'Jf')}(?:{_is('ね', 'Jf')})?(?:{_is(kind='M')})*$"
)
_FAMILIAR_TEXT = re.compile(
    r"^(?:うん|ああ|あー|えっと|えーと|じゃあ|オッケー|OK)|了解(?:です|しました|っす|[。!]|$)|[ご御]苦労(?:様|さま)|ごめん|すいません"
    r"|(?:無理|だめ|ダメ|駄目)(?:です|なん|っす|だ)|もらえ(?:ます|ません)か|[てで]もらって|っす(?:か|ね|よ|[。!]|$)"
    r"|っとき|めっちゃ|マジ|まじで|やばい|ほんと(?!う)|じゃん|でしょ[。!?]?$"
)
_PICTURE = re.compile("[\U0001f300-\U0001faff\u2600-\u26ff\u2661\u2665\u266a]|\\([^()\\w]{1,6}\\)|\\(笑\\)")


def familiar(sentence: Sentence) -> Fault | None:
    """Words of a talk among friends, or towards those below one; None where there are none."""
    if (match := _FAMILIAR_WORDS.search(sentence.written)) is not None:
        return Fault("familiar", _surfaces(match.group()), "くだけた、または目下への言い方")
    if (match := _FAMILIAR_TEXT.search(sentence.text)) is not None:
        return Fault("familiar", match.group(), "くだけた、または目下への言い方")
    return None


def pictures(text: str) -> Fault | None:
    """An emoji, or a face made of marks; None where there is none."""
    match = _PICTURE.search(text)
    return None if match is None else Fault("familiar", match.group(), "絵文字・顔文字")


def is_honorific(sentence: Sentence) -> bool:
    """Whether a sentence has a respectful or humble form, beyond です and ます."""
    return _HONORIFIC.search(sentence.written) is not None


def _surfaces(written: str) -> str:
    return "".join(re.findall(r"<([^:>]*):", written))


WEIGHTS: Mapping[str, float] = {
    "double": 0.15, "humble": 0.3, "in-group": 0.3, "blunt": 0.5, "no-honorific": 0.3, "familiar": 0.3,
}  # fmt: skip
"""What one fault takes off a score of 1."""
