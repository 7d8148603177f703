"""Sizes in bytes, and how people read them: binary and decimal units are never mixed without a word."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30
GB = 10**9


def in_gib(count: int) -> str:
    """Bytes as people read them.

    >>> in_gib(3 * GIB // 2), in_gib(50 * MIB)
    ('1.5 GiB', '50 MiB')
    """
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else in_mib(count)


def in_mib(count: int) -> str:
    """Bytes of a process or a file that is fetched at once."""
    return f"{count / MIB:.0f} MiB"


def in_both(count: int) -> str:
    """Bytes in both units, so that nobody takes one for the other.

    >>> in_both(GIB)
    '1.00 GiB (1.07 GB)'
    """
    places = 1 if count >= 10 * GIB else 2
    return f"{count / GIB:,.{places}f} GiB ({count / GB:,.{places}f} GB)"


def part_of_gib(count: int, whole: int) -> str:
    """What is taken of what there is, as exactly as is of use.

    >>> part_of_gib(3 * GIB // 2, 20 * GIB)
    '1.5 of 20 GiB'
    """
    return f"{_figure(count)} of {_figure(whole)} GiB"


def gb_in_gib(gb: float) -> str:
    """Decimal gigabytes, as vendors state them, with what that is in the unit that memory is counted in."""
    return f"{gb:g} GB = {gb * GB / GIB:.1f} GiB"


def _figure(count: int) -> str:
    gib = count / GIB
    return f"{gib:,.0f}" if gib >= 10 else f"{gib:.1f}" if gib >= 0.95 else f"{gib:.2f}"
