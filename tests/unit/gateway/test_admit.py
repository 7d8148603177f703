from dataclasses import replace

import pytest
from tests.unit.gateway.test_resolve import APPLICATION, ask

from changeover.core.errors import CapacityError
from changeover.gateway.admit import UNBOUNDED_ANSWER_TOKENS, Admission, wanted
from changeover.gateway.limits import Limit


def test_one_key_alone_may_take_every_place_and_not_one_more() -> None:
    admission = Admission(8)
    for _ in range(8):
        admission.enter("a")
    with pytest.raises(CapacityError, match="8 requests are being answered already"):
        admission.enter("a")
    for _ in range(8):
        admission.leave("a")
    assert admission.in_flight == 0
    admission.enter("a")


def test_a_flood_of_one_key_leaves_places_for_the_others() -> None:
    admission = Admission(8)
    for _ in range(3):
        admission.enter("flood")
    admission.enter("quiet")
    admission.enter("flood")
    with pytest.raises(CapacityError, match="its share while 2 keys"):
        admission.enter("flood")
    admission.enter("quiet")
    admission.enter("third")
    assert admission.in_flight < 8


def test_a_reservation_is_a_bound_of_prompt_and_answer() -> None:
    assert wanted(ask(max_tokens=100), 300, None).tokens == 300 // 3 + 32 + 100
    assert wanted(ask(max_completion_tokens=7), 300, None).tokens == 300 // 3 + 32 + 7
    assert wanted(ask(), 300, None).tokens == 300 // 3 + 32 + UNBOUNDED_ANSWER_TOKENS


def test_a_reservation_covers_every_answer_that_is_asked_for_at_once() -> None:
    assert wanted(ask(max_tokens=100, n=3), 300, None).tokens == 132 + 300
    assert wanted(ask(max_tokens=100, max_completion_tokens=200), 300, None).tokens == 132 + 200
    assert wanted(ask(max_tokens=100, prompt=["a", "b"]), 300, None).tokens == 132 + 200
    assert wanted(ask(max_tokens=100, prompt=[1, 2, 3]), 300, None).tokens == 132 + 100


def test_a_reservation_is_never_larger_than_a_limit_itself() -> None:
    key = replace(APPLICATION, limits=(Limit(unit="tokens", per="minute", amount=500),))
    assert wanted(ask(key), 300, None).tokens == 500


def test_a_reservation_knows_the_price_in_millionths_of_a_dollar() -> None:
    assert wanted(ask(max_tokens=100), 300, (2.0, 10.0)).microusd == round(132 * 2.0 + 100 * 10.0)
