"""Makes a commit message of an answer that nearly is one."""

from __future__ import annotations

import re
import textwrap

MOST = 72
"""Characters of the subject, and of a line of the body."""
_VERBS = re.findall(
    r"\w+",
    """
    add allow avoid bump cache change check clean close convert correct create delete deprecate disable document drop
    enable ensure extend extract fix format guard handle hide ignore implement import improve increase introduce keep
    limit load log lower make mark merge move normalise normalize pass pin prevent raise reduce refactor refuse reject
    remove rename replace report require restore retry return reuse revert round show simplify skip sort split stop
    store strip support switch test trim unify update upgrade use validate wait warn wrap write
""",
)
_LABEL = re.compile(r"^(?:commit message|subject(?: line)?|title|body|message)\s*:\s*", re.IGNORECASE)
_QUOTED = re.compile(r'["“]([^"“”]*)["”]')
_OPENS = re.compile(r'["“](?!\S+["”](?:\s|$))')
"""A mark that opens more than the first word."""


def _forms(verb: str) -> set[str]:
    stem = verb.removesuffix("e")
    y = verb.removesuffix("y") if verb.endswith("y") else None
    found = {verb + "s", verb + "es", stem + "ed", stem + "ing", f"{verb}{verb[-1]}ed", f"{verb}{verb[-1]}ing"}
    return found | ({y + "ied", y + "ies"} if y else set())


_BASE = {form: verb for verb in _VERBS for form in _forms(verb)} | {"made": "make", "kept": "keep", "wrote": "write"}


def problem(value: str) -> str | None:
    """What is wrong with an answer and cannot be mended without loss by `tidy`; None if nothing is."""
    lines = _lines(value)
    if not lines:
        return "it is empty"
    subject, _ = _subject(lines[0])
    if len(subject) > MOST:
        return f"the subject has {len(subject)} characters: at most {MOST} are allowed, and what is beyond is cut off"
    return None


def tidy(answer: str) -> dict[str, str]:
    """The subject and the body, without what does not belong there, and no line longer than it may be.

    Of a first line that is too long, what follows its first sentence goes into the body.

    Raises:
        ValueError: There is nothing in the answer.
    """
    lines = _lines(answer)
    if not lines:
        raise ValueError("the answer is empty")
    subject, more = _subject(lines[0])
    if len(subject) > MOST:
        subject = subject[: MOST + 1].rpartition(" ")[0] or subject[:MOST]
    paragraphs = re.split(r"\n{2,}", "\n".join([more, *lines[1:]]).strip())
    return {"subject": subject, "body": "\n\n".join(filter(None, map(_wrapped, paragraphs)))}


def _subject(line: str) -> tuple[str, str]:
    """The subject in a first line, imperative and without a full stop, and what of a long line belongs into the body."""
    subject, _, more = line.partition(". ") if len(line) > MOST else (line, "", "")
    subject = subject.rstrip(". ") or line
    first, space, rest = subject.partition(" ")
    subject = _BASE.get(first.lower(), first) + space + rest
    return subject[0].upper() + subject[1:], more


def _wrapped(paragraph: str) -> str:
    wrapped = (
        textwrap.fill(line, MOST, break_long_words=False, break_on_hyphens=False) for line in paragraph.split("\n")
    )
    return "\n".join(wrapped).strip()


def _lines(answer: str) -> list[str]:
    """Lines of an answer without fences, labels and marks of headings; the first is the subject."""
    kept = [line.rstrip() for line in answer.strip().split("\n") if not line.lstrip().startswith("```")]
    lines = [_LABEL.sub("", line.lstrip("# ") if not place else line).strip("*") for place, line in enumerate(kept)]
    text = _unquoted("\n".join(lines).strip())
    return text.split("\n") if text else []


def _unquoted(text: str) -> str:
    """Without quotation marks around the subject, the body or both, also where only one of the two marks is there."""
    subject, _, body = text.partition("\n")
    if quoted := _QUOTED.fullmatch(subject.rstrip()):
        body = _QUOTED.sub(r"\1", body) if _QUOTED.fullmatch(body.strip()) else body
        text = f"{quoted[1]}\n{body}"
    elif _OPENS.match(text):
        text = text[1:]
    if text.endswith(('"', "”")) and sum(map(text.count, '"“”')) % 2:
        text = text[:-1]
    return text.strip()
