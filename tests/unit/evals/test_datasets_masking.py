"""Personal data that has a shape is masked; what only looks like it is not."""

from __future__ import annotations

import pytest

from changeover.evals.datasets.masking import Masker


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jo.do+x@mail.example.org.", "Write to [email-1]."),
        ("müller@bücher.example, a@b.example", "[email-1], [email-2]"),
        ("a@b.example and A@B.example again", "[email-1] and [email-1] again"),
        ("Call +49 171 2345678 now", "Call [phone-1] now"),
        ("Call +1 (415) 555-0132.", "Call [phone-1]."),
        ("0044 20 7946 0018", "[phone-1]"),
        ("Tel. 030/1234567, 03-1234-5678", "Tel. [phone-1], [phone-2]"),
        ("(030) 123 45 67", "[phone-1]"),
        ("415-555-0132", "[phone-1]"),
        ("card 4111 1111 1111 1111 exp", "card [card-1] exp"),
        ("4111-1111-1111-1111", "[card-1]"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC", "IBAN [iban-1] BIC"),
        ("GB82WEST12345698765432", "[iban-1]"),
        ("from 192.168.17.4:8080", "from [ip-1]:8080"),
        ("2001:db8::8a2e:370:7334 said", "[ip-1] said"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert Masker().text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Profit rose by 12.5 % to 1,815.3 million in 2024.",
        "On 01.02.2024 and 01/02/2024, 01-02-2024 at 12:30:45",
        "2024-11-30T12:30:45",
        "0.123456789 and 3.14159265358979",
        "std::vector<int> x[::2] a::b",
        "version 1.2.3 or 10.20",
        "4111 1111 1111 1112",
        "order 1234567890123456",
        "999.888.777.666",
        "0000 0000 0000 0000 000",
        "@home at home",
        "AB12 CDEF",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert Masker().text(text) == text


def test_values_are_masked_throughout_and_keys_stay() -> None:
    masker = Masker()
    value = {"a@b.example": ["a@b.example", {"x": "c@d.example"}], "n": 4, "t": True, "none": None}
    assert masker.value(value) == {
        "a@b.example": ["[email-1]", {"x": "[email-2]"}],
        "n": 4,
        "t": True,
        "none": None,
    }
    assert masker.counts == {"email": 2}
