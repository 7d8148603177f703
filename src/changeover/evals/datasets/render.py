"""Input templates: Jinja that turns a sample's variables into the user's message, in a sandbox.

Loaded when a task has a template, and not before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError, meta

from changeover.core.errors import DatasetError, nearest
from changeover.evals.datasets.bounded import BoundedEnvironment, metered
from changeover.evals.datasets.marked import as_data, without_control

_MISSING = re.compile(r"'([^']+)' is undefined")


class InputTemplate:
    """One compiled template.

    A line that holds only a block (`{% if … %}`) leaves no empty line. Nothing is escaped: the text is for a model.
    `{{ text | data("report") }}` marks a text as data, `{{ text | plain }}` takes control tokens of chats apart.

    Raises:
        DatasetError: The template is not Jinja; names the line.
    """

    def __init__(self, text: str) -> None:
        environment = BoundedEnvironment(data=as_data, plain=_plain)
        try:
            self.names = frozenset(meta.find_undeclared_variables(environment.parse(text)))
            self._template = environment.from_string(text)
        except TemplateSyntaxError as exc:
            raise DatasetError(f"The input template is wrong at its line {exc.lineno}: {exc.message}.") from exc
        except (TemplateError, RecursionError) as exc:
            raise DatasetError(f"The input template cannot be used: {exc}.") from exc
        self._known = self.names - set(environment.globals)

    def __call__(self, variables: Mapping[str, Any]) -> str:
        """The message for one sample's variables.

        Raises:
            ValueError: A variable is missing or not used, the template fails, or the text is empty.
        """
        unused = sorted(variables.keys() - self.names)
        if unused:
            raise ValueError(
                f"the input template does not use the variable `{unused[0]}`. {nearest(unused[0], self._known)}"
            )
        try:
            with metered():
                text = self._template.render(dict(variables))
        except UndefinedError as exc:
            missing = _MISSING.fullmatch(str(exc))
            if missing is not None:
                raise ValueError(f"the input template needs the variable `{missing[1]}`. Add it to `input`") from exc
            raise ValueError(f"the input template fails: {_line(exc)}") from exc
        except Exception as exc:  # a template may do whatever Python's operators do, and fail like them
            raise ValueError(f"the input template fails: {_line(exc)}") from exc
        if not text.strip():
            raise ValueError("the input template makes an empty message of these variables")
        return text


def _plain(text: object) -> str:
    return without_control(str(text))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
