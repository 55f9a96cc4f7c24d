"""Most of the last records died: something else is wrong."""

from __future__ import annotations

from indexer.budget import Budget


def budget(*fates: bool) -> Budget:
    made = Budget()
    made.note(fates)
    return made


def test_fewer_than_a_hundred_deaths_are_no_reason() -> None:
    assert not budget(*[True] * 99).spent
    assert budget(*[True] * 100).spent


def test_half_is_no_reason_more_than_half_is() -> None:
    assert not budget(*[True, False] * 500).spent
    assert budget(*[True, False] * 499, True, True).spent


def test_only_the_last_thousand_count() -> None:
    assert not budget(*[True] * 600, *[False] * 600).spent
    assert budget(*[False] * 5000, *[True] * 501).spent


def test_it_says_how_many() -> None:
    assert budget(*[True] * 120, False).in_words() == "120 of the last 121 records became dead letters"


def test_it_can_begin_anew() -> None:
    made = budget(*[True] * 100)

    made.clear()

    assert not made.spent
