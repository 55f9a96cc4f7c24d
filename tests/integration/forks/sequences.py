"""A random sequence of forks, from a seed, that befalls a followed chain and its services."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from indexer.local.supervisor import Child
from tests.support.e2e_services import is_frozen, thaw
from tests.support.following import Followed

FINALITY = 16
_PLACES = ("persister.before-transaction", "persister.inside-copy", "persister.between-copy-and-commit")


@dataclass
class Sequence:
    """What a seed does to a chain; `done` is what it did, for the message of a test that fails."""

    seed: int
    run: Followed
    done: list[str] = field(default_factory=list)
    _chance: random.Random = field(init=False)
    _final: int = field(init=False)
    _place: str = ""  # where a persister is to freeze, or has

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._final = self._head() - FINALITY

    def play(self, steps: int) -> None:
        """Do so many things at random, with a fork as every other one; then let everybody be well again."""
        kinds = [self._grow, self._wait, self._freeze, self._lag, self._miss]
        deaths = [self._kill_one, self._stand_still]
        chosen = [*self._chance.choices(kinds, k=steps - 1), self._chance.choice(deaths)]
        self._chance.shuffle(chosen)
        for step in chosen:
            step()
            self._fork()
        self._heal()

    def _fork(self) -> None:
        for _ in range(self._chance.choice((1, 1, 2))):
            head = self._head()
            depth = self._chance.randint(1, head - self._final)
            length = self._chance.randint(max(1, depth - 3), depth + 3)
            self.run.node.reorg(depth, length)
            self._did(f"fork {depth} {length}")

    def _grow(self) -> None:
        blocks = self._chance.randint(1, 4)
        self.run.node.grow(blocks)
        self._did(f"grow {blocks}")

    def _wait(self) -> None:
        """Most forks meet an indexer that is at work on the one before; some one that is done."""
        self._heal()
        self.run.until_stored()
        self._did("wait")

    def _freeze(self) -> None:
        self._heal()
        self._place = self._chance.choice(_PLACES)
        self.run.services.order(self._place, "stop")
        self._did(f"freeze {self._place}")
        self._grow()
        self.run.services.until(lambda: any(map(is_frozen, self._persisters())), 30, "a persister froze")

    def _lag(self) -> None:
        blocks = self._chance.randint(1, 4)
        self._twin(lag=blocks)
        self._did(f"lag {blocks}")

    def _miss(self) -> None:
        """The twin hears of no fork from now on."""
        branch = self._forks  # its number
        self._twin(branch=branch)
        self._did(f"miss all forks from {branch} on")

    def _kill_one(self) -> None:
        child = self._chance.choice(self.run.services.children)
        if child.process is not None and not is_frozen(child):
            child.process.kill()
            child.process.wait()
        self._did(f"kill {child.name}")

    def _stand_still(self) -> None:
        self._thaw()
        self.run.services.kill()
        self._did("kill everybody")
        self._fork()  # who waits next starts them again

    # getting well

    def _heal(self) -> None:
        self._thaw()
        self._twin(lag=0, branch=None)

    def _thaw(self) -> None:
        if self._place:
            (self.run.services.hooks / self._place).unlink(missing_ok=True)
            self._place = ""
        for child in self._persisters():
            if is_frozen(child):
                thaw(child)

    def _persisters(self) -> Iterator[Child]:
        return (child for child in self.run.services.children if child.service == "persister")

    def _twin(self, **faults: object) -> None:
        assert self.run.node.twin is not None
        self.run.node.twin.faults(**faults)

    @property
    def _forks(self) -> int:
        return sum(each.startswith("fork") for each in self.done)

    def _did(self, what: str) -> None:
        self.done.append(what)
        self._final = max(self._final, self._head() - FINALITY)

    def _head(self) -> int:
        return int(self.run.node.call("eth_blockNumber"), 16)
