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


def _forms(verb: str) -> set[str]:
    stem = verb.removesuffix("e")
    y = verb.removesuffix("y") if verb.endswith("y") else None
    found = {verb + "s", verb + "es", stem + "ed", stem + "ing", f"{verb}{verb[-1]}ed", f"{verb}{verb[-1]}ing"}
    return found | ({y + "ied", y + "ies"} if y else set())


_BASE = {form: verb for verb in _VERBS for form in _forms(verb)} | {"made": "make", "kept": "keep", "wrote": "write"}


def problem(value: str) -> str | None:
    """What is wrong with an answer as a commit message; None if nothing is."""
    lines = _lines(value)
    if not lines:
        return "it is empty"
    subject = lines[0]
    first = subject.split()[0].lower()
    if len(subject) > MOST:
        return f"the subject has {len(subject)} characters, at most {MOST} are allowed"
    if first in _BASE:
        return f"the subject is not imperative: `{_BASE[first]}` instead of `{first}`"
    if subject.endswith("."):
        return "the subject ends with a point"
    return "an empty line is missing after the subject" if len(lines) > 1 and lines[1] else None


def tidy(answer: str) -> dict[str, str]:
    """The subject and the body, without what does not belong there, and no line longer than it may be.

    Of a first line that is too long, what follows its first sentence goes into the body.

    Raises:
        ValueError: There is nothing in the answer.
    """
    lines = _lines(answer)
    if not lines:
        raise ValueError("the answer is empty")
    subject, _, more = lines[0].partition(". ") if len(lines[0]) > MOST else (lines[0], "", "")
    subject = subject.rstrip(". ") or lines[0]
    first, space, rest = subject.partition(" ")
    subject = _BASE.get(first.lower(), first) + space + rest
    subject = subject[0].upper() + subject[1:]
    if len(subject) > MOST:
        subject = subject[: MOST + 1].rpartition(" ")[0] or subject[:MOST]
    paragraphs = re.split(r"\n{2,}", "\n".join([more, *lines[1:]]).strip())
    return {"subject": subject, "body": "\n\n".join(filter(None, map(_wrapped, paragraphs)))}


def _wrapped(paragraph: str) -> str:
    wrapped = (
        textwrap.fill(line, MOST, break_long_words=False, break_on_hyphens=False) for line in paragraph.split("\n")
    )
    return "\n".join(wrapped).strip()


def _lines(answer: str) -> list[str]:
    """Lines of an answer without fences, labels and marks of headings; the first is the subject."""
    kept = [line.rstrip() for line in answer.strip().split("\n") if not line.lstrip().startswith("```")]
    lines = [_LABEL.sub("", line.lstrip("# ") if not place else line).strip("*") for place, line in enumerate(kept)]
    return "\n".join(lines).strip().split("\n") if any(lines) else []
