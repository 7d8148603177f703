"""Expressions and templates that would fill the memory end with one sentence, before they have; all others go on."""

import re
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from changeover.core.errors import ConfigError, ContractError
from changeover.evals.datasets.bounded import MOST_MADE
from changeover.evals.datasets.render import InputTemplate
from changeover.tools.expressions import evaluate, names_in_template, render
from changeover.tools.values import Document, Page

BIG = "x" * 1_000_000
VALUES: Mapping[str, Any] = {
    "big": BIG,
    "lines": "word\n" * 1_000,
    "numbers": list(range(1_000)),
    "row": {"a": 1},
    "paper": Document(name="a.md", kind="markdown", pages=[Page(number=1, label="p. 1", text=BIG)]),
}
MOST_MIB = 100


def why_not(work: Any, source: str) -> str:
    """What is said of something that is too much, which takes little memory to find out."""
    tracemalloc.start()
    try:
        with pytest.raises(ContractError) as refused:
            work(source, VALUES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_MIB << 20
    return refused.value.message


@pytest.mark.parametrize(
    "expression",
    [
        "'x' * 10**9",
        "10**9 * 'x'",
        "[0] * 10**9",
        "[[[0] * 1000] * 1000] * 1000",
        "[paper] * 1000",
        "big * 10 ~ big * 60",
        "big | center(10**9)",
        "lines | indent(10**9)",
        "numbers | batch(10**9, 'x') | list",
        "numbers | slice(10**9) | list",
        "numbers | tojson(indent=10**9)",
        "lines.replace('', big)",
        "lines | replace('o', big)",
        "lines | replace(new=big, old='o')",
        "big.join(lines)",
        "numbers | join(big)",
        "numbers | join(d=big)",
        "([big, big] * 100) | map('upper') | join",
        "range(100000) | map('replace', '0', big) | list | length",
        "([paper] * 100) | map(attribute='pages') | sum(start=[]) | string * 99",
        "([big] * 1000) | string",
        "([paper] * 1000) ~ ''",
        "lines | wordwrap(1, true, big)",
        "'" + "%(a)s" * 100 + "' | format(a=big)",
        "'" + "{0}" * 100 + "'.format(big)",
        "'" + "%s" * 100 + "' % ((big,) * 100)",
    ],
)
def test_an_expression_that_would_make_too_much_is_refused_before_it_has(expression: str) -> None:
    assert "it would make more than 64 million characters" in why_not(evaluate, expression)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("2 ** (10**6)", "a whole number has at most 4096 bits here"),
        ("(2**4000) * (2**4000)", "a whole number has at most 4096 bits here"),
        ("range(10**9)", "Range too big"),
        ("1 | round(10**9, 'ceil')", "rounded to at most 300 places"),
        ("'%1000000000d' % 1", "a format's width has at most three figures"),
        ("'%.999999999f' % 1", "a format's width has at most three figures"),
        ("'%*d' % (1000000000, 1)", "a format's width has at most three figures"),
        ("'%(a)999999999s' | format(a=1)", "a format's width has at most three figures"),
        ("'{:>1000000000}'.format(1)", "a format's width has at most three figures"),
        ("'{:{w}}'.format(1, w=10**9)", "a format's width has at most three figures"),
        ("big.ljust(10**9)", "access to attribute 'ljust' of 'str' object is unsafe"),
        ("(5).to_bytes(10**9)", "access to attribute 'to_bytes' of 'int' object is unsafe"),
        ("lipsum(n=10**9)", "'lipsum' is undefined"),
    ],
)
def test_what_makes_much_of_little_is_refused_and_said(expression: str, why: str) -> None:
    assert why in why_not(evaluate, expression)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}" + "many words " * 20 + "{% endfor %}{% endfor %}",
        "{% set x %}{% for a in range(1000) %}{{ big }}{% endfor %}{% endset %}",
        "{% set x = 'x' %}" + "{% set x = x ~ x %}" * 40,
        "{% set x = 'x' %}" + "{% set x = x + x %}" * 40,
        "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
        "{% set x = {} %}" + "{% set x = {1: x, 2: x} %}" * 40 + "{{ x.items() }}",
        "{% set n = namespace(l=[]) %}{% for a in range(100000) %}{% set n.l = [n.l, big[1:]] %}{% endfor %}",
        "{% macro f(n) %}{{ big }}{{ f(n - 1) if n }}{% endmacro %}{{ f(100) }}",
        "{% filter upper %}{% for a in range(100) %}{{ big }}{% endfor %}{% endfilter %}",
    ],
)
def test_a_template_that_would_make_too_much_is_refused_before_it_has(template: str) -> None:
    assert "it would make more than 64 million characters" in why_not(render, template)
    with pytest.raises(ValueError, match="the input template fails: it would make more than 64 million"):
        InputTemplate(template + "{{ big }}")({"big": BIG})


def test_turns_of_loops_that_make_nothing_have_a_bound_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("changeover.evals.datasets.bounded.MOST_MADE", 1_000_000)
    for template in (
        "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
        "{% for a in range(90000) if a is none %}{% endfor %}",
    ):
        with pytest.raises(ContractError, match=r"a turn of a loop counts as 32, a call as 128"):
            render(template, {})


def test_a_loop_that_calls_itself_is_an_error_of_the_template() -> None:
    with pytest.raises(ConfigError, match=r"line 2: a loop cannot be recursive here"):
        names_in_template("a\n{% for x in xs recursive %}{{ loop(x) }}{% endfor %}")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("lines.splitlines() | length", 1_000),
        ("lines[:3] + '!'", "wor!"),
        ("'%.2f' | format(3.14159)", "3.14"),
        ("'%-5s|%03d' % ('ab', 7)", "ab   |007"),
        ("'{:>6,}'.format(1234)", " 1,234"),
        ("'a' ~ 3 ~ none ~ [1]", "a3None[1]"),
        ("numbers | map('string') | join(', ') | length", 4_888),
        ("numbers | select('gt', 997) | map('string')", ["998", "999"]),
        ("numbers | batch(400) | map('length')", [400, 400, 200]),
        ("numbers | sum", 499_500),
        ("[[1], [2]] | sum(start=[])", [1, 2]),
        ("row.a + 2 ** 10 - 7 % 4", 1_022),
        ("lines.replace('word', 'w').count('w')", 1_000),
        ("', '.join(['a', 'b'])", "a, b"),
        ("'-' * 10", "-" * 10),
        ("[1, 2] * 2", [1, 2, 1, 2]),
        ("missing_one | default('x')", "x"),
        ("{'a': row, 'b': row}", {"a": {"a": 1}, "b": {"a": 1}}),
        ("1234.567 | round(1)", 1234.6),
        ("'a b' | indent(2, true)", "  a b"),
    ],
)
def test_what_tools_compute_comes_out_as_before(expression: str, value: object) -> None:
    assert evaluate(expression, VALUES) == value


def test_loops_know_where_they_are() -> None:
    template = (
        "{% for x in numbers[:3] %}{{ loop.index }}/{{ loop.length }}{{ ', ' if not loop.last }}{% else %}-{% endfor %}"
    )
    assert render(template, VALUES) == "1/3, 2/3, 3/3"
    assert render("{% for x in numbers if x > 997 %}{{ x }} {{ loop.previtem | default(0) }};{% endfor %}", VALUES) == (
        "998 0;999 998;"
    )


def test_a_value_that_is_only_handed_on_costs_nothing() -> None:
    values = {"papers": [VALUES["paper"]] * 100, "all": BIG * 60}
    for name, value in values.items():
        assert evaluate(name, values) is value
    assert len(evaluate("all[:-1]", values)) == len(values["all"]) - 1
    assert evaluate("papers | map(attribute='name') | unique", values) == ["a.md"]
    assert re.fullmatch("x+", render("{{ all }}", values))
    assert len(values["all"]) < MOST_MADE
