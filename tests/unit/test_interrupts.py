"""Ctrl-C and SIGTERM end a command, wherever Python was when they came."""

from __future__ import annotations

import os
import signal

import pytest

from indexer.interrupts import asked_to_end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_whose_exception_was_lost_ends_the_next_turn(number: signal.Signals) -> None:

    with asked_to_end() as raise_if_asked:
        raise_if_asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            raise_if_asked()


def test_handlers_are_as_they_were_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    with asked_to_end():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
