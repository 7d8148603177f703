"""Expressions: how a declaration names a value. Jinja's, in its sandbox; they can look and compute, and change nothing.

`message | plain` takes the control tokens of chat templates apart, in a text or in every text of a list, such as a
conversation: what goes to a task as `messages` has no input template that would.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, meta

from changeover.core.errors import ConfigError, ContractError
from changeover.evals.datasets.bounded import BoundedEnvironment, add_repeats, metered
from changeover.evals.datasets.marked import without_control
from changeover.tools.plain import settled


def _plain(value: Any) -> Any:
    """A value whose texts cannot speak with another's voice."""
    if isinstance(value, str):
        return without_control(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast("list[Any]", value)]
    return value


_ENVIRONMENT = BoundedEnvironment(plain=_plain)


def names_in(expression: str) -> frozenset[str]:
    """Names that an expression asks for.

    Raises:
        ConfigError: It is no expression.
    """
    try:
        tree = _ENVIRONMENT.parse("{{ (" + expression + ") }}")
        _compiled(expression)
    except TemplateSyntaxError as exc:
        raise ConfigError(f"`{expression}` is no expression: {exc.message}.") from exc
    except (TemplateError, RecursionError) as exc:
        raise ConfigError(f"`{expression}` cannot be used: {exc}.") from exc
    return frozenset(meta.find_undeclared_variables(tree) - set(_ENVIRONMENT.globals))


def evaluate(expression: str, values: Mapping[str, Any]) -> Any:
    """The value of an expression; of what is made lazily, a list.

    Raises:
        ContractError: It cannot be computed of these values; says why.
    """
    try:
        with metered():
            value: Any = _compiled(expression)(dict(values))
            if isinstance(value, Undefined):
                value._fail_with_undefined_error()  # pyright: ignore[reportPrivateUsage]
            value = settled(value)
            if not any(value is given for given in values.values()):
                add_repeats(value)
    except Exception as exc:  # an expression may do whatever Python's operators do, and fail like them
        raise ContractError(f"`{expression}` cannot be computed: {' '.join(str(exc).split())}.") from exc
    return value


def render(template: str, values: Mapping[str, Any]) -> str:
    """A filled-in template.

    Raises:
        ContractError: It cannot be filled in; says why.
    """
    try:
        with metered():
            return _ENVIRONMENT.from_string(template).render(dict(values)).strip()
    except Exception as exc:  # as above
        raise ContractError(f"The template cannot be filled in: {' '.join(str(exc).split())}.") from exc


def names_in_template(template: str) -> frozenset[str]:
    """Names that a template asks for.

    Raises:
        ConfigError: It is no template; names the line.
    """
    try:
        tree = _ENVIRONMENT.parse(template)
        _ENVIRONMENT.from_string(template)
    except TemplateSyntaxError as exc:
        raise ConfigError(f"line {exc.lineno}: {exc.message}.") from exc
    except (TemplateError, RecursionError) as exc:
        raise ConfigError(f"it cannot be used: {exc}.") from exc
    return frozenset(meta.find_undeclared_variables(tree) - set(_ENVIRONMENT.globals))


@lru_cache(maxsize=2_048)
def _compiled(expression: str) -> Any:
    return cast("Any", _ENVIRONMENT).compile_expression(expression, undefined_to_none=False)
