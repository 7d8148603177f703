# ruff: noqa: RUF001 - Japanese
"""A quick look at a reply's register, before a customer reads it. The scorer `politeness` looks closer, and takes longer."""

import re

OWN = "森田|小林|佐々木"
"""Names of the shop's own people, who have no さん towards customers. Replace them by yours."""
_OWN_TITLE = re.compile(f"(?:{OWN})(?:さん|様|さま|店長|氏)|(?:店長|担当者?|係の者)(?:さん|様|さま)")
_POLITE_END = re.compile(
    r"(?:です|ます|ました|でした|ません|ませんでした|でしょう|ましょう|ください|下さい|くださいませ|ませ|ございます)(?:か|が|ね|ので|から)?$"
)
_OTHER_END = re.compile(r"(?<!ありがと)(?<!よろし)[うくぐすつぬぶむるたいだ](?:か|が|ね|よ|な)?$|じゃん$|って$")
"""Of verbs, adjectives and copulas in their plain form; nouns end a sentence politely enough."""
_FAMILIAR = re.compile("了解(?:です|しました)|ご苦労様|あなた|めっちゃ|マジ|っす(?:か|ね)?$|もらえ(?:ます|ません)か")
_PICTURE = re.compile("[\U0001f300-\U0001faff♪♡☆]|\\(笑\\)|（笑）")
_JAPANESE = re.compile("[\u3040-\u30ff]")


def register(reply: str) -> dict[str, object]:
    """Whether a reply is polite as far as this can see, and what is not."""
    found = faults(reply)
    return {"polite": not found, "faults": found}


def what_is_wrong(value: str) -> str | None:
    """Say what is wrong with a reply's register; None where nothing is found."""
    found = faults(value)
    return "、".join(found) if found else None


def faults(reply: str) -> list[str]:
    """What is wrong, each once, in Japanese."""
    if not _JAPANESE.search(reply):
        return ["日本語の返事ではありません"]
    found: list[str] = []
    for sentence in re.split(r"[。！？!?\n]", re.sub("「[^」]*」", "これ", reply)):
        end = sentence.strip(" 　…〜~）)")
        if len(end) > 2 and not _POLITE_END.search(end) and _OTHER_END.search(end):
            found.append(f"文末が敬体ではありません：{end[-15:]}")
    said = [sentence.strip() for sentence in re.split(r"[。！？!?\n]", reply) if len(sentence.strip()) > 2]
    if len(said) - len(set(said)) > 1:
        found.append("同じ文を繰り返しています")
    for pattern, because in (
        (_OWN_TITLE, "身内に敬称や役職を付けています"),
        (_FAMILIAR, "くだけた、または目下への言い方です"),
        (_PICTURE, "絵文字や記号があります"),
    ):
        if match := pattern.search(reply):
            found.append(f"{because}：{match[0]}")
    return list(dict.fromkeys(found))
