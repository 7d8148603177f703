"""Room for uploads: what is counted is given back, and nobody has all of it while others come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.core.errors import CapacityError
from changeover.gateway.uploads import Upload, Uploads


def test_a_body_counts_once_however_often_it_is_looked_at_and_is_given_back_once() -> None:
    room = Uploads(100)
    upload = room.begin("a")
    assert room.taken == 0
    for size in (30, 10, 30):
        upload.grow(size)
        assert room.taken == 30
    upload.end()
    upload.end()
    assert room.taken == 0


def test_what_finds_no_room_is_told_when_to_come_again_and_what_to_raise() -> None:
    room = Uploads(100 << 20)
    room.begin("a").grow(50 << 20)
    room.begin("b").grow(40 << 20)
    with pytest.raises(CapacityError, match=r"Uploads take 90\.0 of 100 MiB already\. Try again .* `jobs") as refused:
        room.begin("c").grow(11 << 20)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 5)
    assert room.taken == 90 << 20
    room.begin("c").grow(10 << 20)


def test_a_key_alone_gets_half_and_with_others_its_share() -> None:
    room = Uploads(100)
    for _ in range(5):
        room.begin("a").grow(10)
    with pytest.raises(CapacityError, match="its share is"):
        room.begin("a").grow(10)
    room.begin("b").grow(20)
    room.begin("c").grow(10)
    with pytest.raises(CapacityError, match="Uploads of this key"):
        room.begin("b").grow(15)  # a third is its share
    room.begin("b").grow(13)
    assert room.taken == 93


def test_one_body_may_be_larger_than_a_share_and_alone_larger_than_all() -> None:
    room = Uploads(100)
    first = room.begin("a")
    for size in (60, 100, 150):
        first.grow(size)
    with pytest.raises(CapacityError):
        room.begin("b").grow(1)
    first.end()
    room.begin("b").grow(30)
    room.begin("a").grow(70)
    assert room.taken == 100


def test_bodies_that_grow_together_are_refused_where_the_room_ends_and_the_others_go_on() -> None:
    room = Uploads(100)
    first, second = room.begin("a"), room.begin("b")
    for size in range(10, 60, 10):
        first.grow(size)
        second.grow(size)
    with pytest.raises(CapacityError):
        first.grow(60)
    first.end()
    second.grow(100)
    assert room.taken == 100


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.integers(0, 60), st.booleans()), max_size=40))
def test_no_more_is_counted_than_there_is_and_in_the_end_nothing(asked: list[tuple[int, str, int, bool]]) -> None:
    room = Uploads(100)
    open_: dict[tuple[int, str], Upload] = {}
    sizes: dict[tuple[int, str], int] = {}
    for number, key, size, ends in asked:
        place = (number, key)
        upload = open_.setdefault(place, room.begin(key))
        try:
            upload.grow(size)
            sizes[place] = max(sizes.get(place, 0), size)
        except CapacityError:
            ends = True
        if ends:
            open_.pop(place).end()
            sizes.pop(place, None)
        assert room.taken == sum(sizes.values()) <= 100
    for upload in open_.values():
        upload.end()
    assert room.taken == 0
    assert room._held == {}
