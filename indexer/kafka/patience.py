"""Calls that ignore the time they are given: made on a thread that can be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def within(seconds: float, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the call returns, or raise what it raises.

    Raises TimeoutError when it has not come back after `seconds`: it goes on alone, and its outcome is nobody's.
    """
    outcome: list[Any] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def made() -> None:
        try:
            outcome.append(call(*arguments))
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    threading.Thread(target=made, name="may-be-left-behind", daemon=True).start()
    if not done.wait(seconds):
        raise TimeoutError(f"no return after {seconds:g} s")
    if failure:
        raise failure[0]
    return outcome[0]
