"""What becomes of a draft, by rule."""

from typing import Any

STOP = ("promise", "personal-data")


def verdict(found: list[dict[str, Any]], flagged: list[str]) -> dict[str, Any]:
    """`stop`, where a promise or personal data may not go out; `fix`, where anything else is wrong; else `send`."""
    once = list({(each["kind"], each["quote"]): each for each in found}.values())
    kinds = {each["kind"] for each in once}
    said = "stop" if kinds.intersection(STOP) else "fix" if once or flagged else "send"
    return {"verdict": said, "problems": once}
