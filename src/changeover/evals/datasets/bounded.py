"""Jinja's sandbox with a bound on what one template, or one expression, may make: a mistake must not fill the memory.

Whatever makes a text or a list is counted before it is made where its size can be told, else right after: operators,
filters, methods, slices, loops, output. What is made in one evaluation adds up, whether or not it is still needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MOST_MADE = 64_000_000
"""Characters that one evaluation makes."""
MOST_BITS = 4_096
"""Of a whole number."""
MOST_PLACES = 300
"""Of a rounded number."""
MEMBER = 8
"""Characters that a member of a list counts as."""
TURN = 32
"""That a turn of a loop counts as: so time has a bound too."""
CALL = 128
"""That a call counts as, and a filter."""
NUMBER = 24
SHORT = 32
"""Texts of so many characters count each time as if they were another."""
_PLAIN = (bool, float, type(None))
_SIZED = (str, bytes, list, tuple)

_PADDING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "translate", "format_map", "to_bytes"})
"""Methods that make long texts of short ones and that no tool needs."""
_FREE = frozenset(
    {"abs", "attr", "count", "d", "default", "first", "float", "int", "last", "length", "max", "min", "random"}
)
"""Filters that give what is there already, or a number."""
_TEXTS = frozenset({
    "(text)", "capitalize", "center", "data", "e", "escape", "forceescape", "format", "indent", "join", "lower", "plain",
    "pprint", "replace", "safe", "string", "striptags", "title", "tojson", "trim", "truncate", "upper", "urlencode", "urlize",
    "wordcount", "wordwrap", "xmlattr",
})  # fmt: skip
"""Filters that make a text of whatever they are given."""
_WIDE = re.compile(r"%(?:\([^)]*\))?[-#0 +]*\d*\.?(?:\*|\d{4})|\{[^{}]*:[^{}]*(?:\{|\d{4})")
"""A width of four figures in a format, or one that is a value."""


class TooMuchError(SecurityError):
    """An evaluation would make more than it may."""


class _Meter:
    """What one evaluation has made."""

    def __init__(self) -> None:
        self.made = 0

    def add(self, size: int) -> None:
        self.made += size
        if self.made > MOST_MADE:
            raise TooMuchError(
                f"it would make more than {MOST_MADE // 1_000_000} million characters (a turn of a loop counts as {TURN}, a call as {CALL}); "
                "give it less, or use a function"
            )

    def counted(self, items: Iterator[Any]) -> Generator[Any]:
        """Members as they are asked for, and what makes them, wherever that happens."""
        while True:
            token = _METER.set(self)
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                _METER.reset(token)
            self.add(TURN)
            yield item


_METER: ContextVar[_Meter] = ContextVar("meter")
"""Of the evaluation under way. There is none while templates are compiled, so that nothing is made of constants then."""


@contextmanager
def metered() -> Generator[None]:
    """One evaluation."""
    token = _METER.set(_Meter())
    try:
        yield
    finally:
        _METER.reset(token)


def add_repeats(value: Any) -> None:
    """Count what a value holds more than once: as JSON, or as a text, it would be written out each time.

    Raises:
        TooMuchError: That is too much.
    """
    sizes = _Sizes()
    _METER.get().add(sizes.of(value) - sizes.distinct)


class _Sizes:
    """How many characters values are about, written out, each as often as it is there."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Any]] = {}
        """By identity; the values too, so that none of them gives its place to another."""
        self.distinct = 0
        """The same with each only once."""

    def of(self, value: Any) -> int:
        known = self._known.get(id(value))
        if known is not None:
            return known[0]
        own, others = _own(value), 0
        for member in _members(value):
            kind = cast("type[Any]", type(member))
            # As most cells of a table are: looked at here, a million take no time.
            if kind is str and len(member) <= SHORT:
                own += len(member)
            elif kind in _PLAIN or (kind is int and member.bit_length() <= SHORT):
                own += NUMBER
            else:
                others += self.of(member)
        self.distinct += own
        self._known[id(value)] = own + others, value
        return own + others


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value)
        return [*pairs.keys(), *pairs.values()]
    if isinstance(value, Namespace):
        raise SecurityError("a namespace has no text; name what is in it")
    if isinstance(value, str | bytes | range):
        return ()
    if isinstance(value, Collection):
        return cast("Collection[Any]", value)
    return [getattr(value, name) for name in getattr(value, "__struct_fields__", ())]


def _own(value: Any) -> int:
    """About how many characters a value is, without its members."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, int):
        return NUMBER + value.bit_length() // 3
    if isinstance(value, Collection) and not isinstance(value, range):
        return MEMBER * len(cast("Collection[Any]", value))
    return NUMBER


def _written(value: Any) -> int:
    return _Sizes().of(value)


def _formatted(text: str | bytes, given: Any) -> int:
    """How long a format may become."""
    shown = text if isinstance(text, str) else text.decode("latin-1")
    if _WIDE.search(shown):
        raise TooMuchError("a format's width has at most three figures, which stand in it")
    return len(shown) + (shown.count("%") + shown.count("{")) * _written(given)


def _replaced(text: Any, old: Any = "", new: Any = "", *_: Any) -> int:
    if isinstance(text, str | bytes) and type(old) is type(text):
        return len(text) + text.count(cast("Any", old)) * len(new)
    size = _written(text)
    return size + (size + 1) * _written(new)


def _foreseen(name: str, value: Any, given: Sequence[Any], named: Mapping[str, Any]) -> int:
    """How many characters a filter makes, as far as that can be told before."""
    more = [*given, *named.values()]
    widest = max([0, *(each if isinstance(each, int) else _own(each) for each in more)])
    size = _written(value) if name in _TEXTS or any(isinstance(each, list) for each in more) else 0
    match name:
        case "format":
            return _formatted(value, more) if isinstance(value, str) else size
        case "replace":
            return _replaced(value, *given, **{key: named[key] for key in ("old", "new") if key in named})
        case "join":
            return size + widest * len(value)
        case "indent":
            return size + widest * (value.count("\n") + 1 if isinstance(value, str) else size)
        case "tojson" | "wordwrap":
            return size + (widest if name == "tojson" or len(more) > 1 else 1) * size
        case "center" | "batch" | "slice":
            return size + MEMBER * widest
        case "round":
            if widest > MOST_PLACES:
                raise TooMuchError(f"a number is rounded to at most {MOST_PLACES} places")
        case _:
            pass
    return size


def _counting(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts what it makes."""
    first = 1 if hasattr(make, "jinja_pass_arg") else 0

    @wraps(make)
    def counted(*args: Any, **named: Any) -> Any:
        meter = _METER.get()
        before, given = args[:first], list(args[first:])
        if name in _TEXTS and isinstance(given[0], Iterator):
            given[0] = list(cast("Iterator[Any]", given[0]))
        expected = 0 if name in _FREE else _foreseen(name, given[0], given[1:], named)
        meter.add(CALL + expected)
        made = make(*before, *given, **named)
        if isinstance(made, Iterator):
            return meter.counted(cast("Iterator[Any]", made))
        if name not in _FREE:
            meter.add(max(_own(made) - expected, 0))
        return made

    return counted


class _Counted(NodeTransformer):
    """Puts a count around what Jinja does without asking its environment."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise TemplateSyntaxError("a loop cannot be recursive here", node.lineno)
        self.generic_visit(node)
        node.iter = _around(node.iter, "(each)")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _around(nodes.List(node.nodes, lineno=node.lineno), "(text)")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _around(node, "(slice)") if isinstance(node.arg, nodes.Slice) else node


def _around(node: nodes.Node, name: str) -> nodes.Expr:
    return nodes.Filter(cast("nodes.Expr", node), name, [], [], None, None, lineno=node.lineno)


def _same(value: Any) -> Any:
    return value


def _text(members: Iterable[Any]) -> str:
    return "".join(map(str, members))


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox of templates and expressions; evaluate within `metered`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **filters: Callable[..., Any]) -> None:
        """Set up.

        Args:
            filters: Beside Jinja's own.
        """
        super().__init__(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=self._shown)
        for name in ("lipsum", "cycler", "joiner"):
            del self.globals[name]
        ours = {"(each)": iter, "(text)": _text, "(slice)": _same}
        every = {**self.filters, **filters, **ours}
        self.filters = {name: _counting(name, each) for name, each in every.items()}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        padding = isinstance(obj, str | bytes | int) and attr in _PADDING
        return not padding and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, _SIZED) and isinstance(other, int):
                    _METER.get().add(_own(one) * max(other, 0))
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() + right.bit_length())
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * right)
        elif operator == "+" and isinstance(left, _SIZED):
            _METER.get().add(_own(left) + _own(right))
        elif operator == "%" and isinstance(left, str | bytes):
            _METER.get().add(_formatted(left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        meter, method = _METER.get(), getattr(__obj, "__wrapped__", __obj)
        name, whose = getattr(method, "__name__", ""), getattr(method, "__self__", None)
        expected = 0
        if isinstance(whose, str | bytes):
            if name == "format":
                expected = _formatted(whose, [*args, *kwargs.values()])
            elif name == "replace":
                expected = _replaced(whose, *args)
            elif name == "join" and args:
                args = (list(args[0]), *args[1:])
                expected = _written(args[0]) + len(whose) * len(args[0])
        meter.add(CALL + expected)
        made: Any = super().call(__context, __obj, *args, **kwargs)
        if type(made) in (list, tuple) and isinstance(whose, str | bytes):
            meter.add(len(whose))
        if not (name == "get" and isinstance(whose, Mapping)):
            meter.add(max(_own(made) - expected, 0))
        return made

    def concat(self, pieces: Iterable[str]) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - Jinja's is a function
        """One text of the pieces of an output."""
        meter, kept = _METER.get(), list[str]()
        for piece in pieces:
            meter.add(len(piece))
            kept.append(piece)
        return "".join(kept)

    def _shown(self, value: Any) -> Any:
        """What stands in `{{ }}`, before it becomes a text."""
        meter = _METER.get()
        if not isinstance(value, str):
            meter.add(_written(value))
        return value

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(cast("nodes.Template", _Counted().visit(source)), *args, **kwargs)


def _check_bits(bits: int) -> None:
    if bits > MOST_BITS:
        raise TooMuchError(f"a whole number has at most {MOST_BITS} bits here")
