"""The dice of the faults: repeatable, and as frequent as asked."""

from __future__ import annotations

from devchain.faults import Dice, Faults


def throws(dice: Dice, name: str, times: int) -> list[bool]:
    """Whether the fault hit, throw by throw."""
    return [dice.strikes(name) for _ in range(times)]


def test_the_seed_decides_which_requests_are_hit() -> None:
    first, again = (throws(Dice(Faults(seed=4, p_429=0.3)), "429", 200) for _ in range(2))
    other = throws(Dice(Faults(seed=5, p_429=0.3)), "429", 200)

    assert first == again != other
    assert 35 < sum(first) < 85


def test_the_next_requests_are_hit_before_any_chance() -> None:
    dice = Dice(Faults(next_5xx=3))

    assert throws(dice, "5xx", 5) == [True, True, True, False, False]
    assert dice.hits == {"5xx": 3}


def test_reseeding_starts_the_dice_again() -> None:
    dice = Dice(Faults(p_hangup=0.5))
    before = throws(dice, "hangup", 50)

    dice.reseed()

    assert throws(dice, "hangup", 50) == before


def test_a_rate_is_kept_over_time_and_bursts_are_cut() -> None:
    dice = Dice(Faults(max_rps=100))

    at_once = sum(not dice.over_rate(1000.0) for _ in range(50))
    steady = sum(not dice.over_rate(1000 + n / 200) for n in range(1, 401))

    assert at_once == 10
    assert 195 <= steady <= 205
    assert dice.hits["429"] == 450 - at_once - steady


def test_without_a_rate_everything_passes() -> None:
    assert not any(Dice(Faults()).over_rate(0.0) for _ in range(100))
