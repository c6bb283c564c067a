"""When the next round of a live run is taken: as late as possible, so that its frames are new."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_TAKINGS = 16  # of the last rounds
_NEWEST = 0.3  # the share of the last duration in the expected one


class Pacing:
    """Takes rounds so that none of them waits before a stage, and the slowest stage never waits for a round.

    stages: their number. Each works on one round after the other, in a thread of its own. A stage is expected to take
    what it took before, and to be done any moment when it takes longer. clock: seconds.
    """

    def __init__(self, stages: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._stages, self._clock = range(stages), clock
        self._expected_s, self._began_s = [0.0] * stages, [0.0] * stages
        self._begun, self._ended = [0] * stages, [0] * stages  # rounds
        self._taken, self._is_closed = 0, False
        self._asked_s: deque[float] = deque()  # for rounds that no stage has begun
        self._taking_s: deque[float] = deque([0.0], _TAKINGS)
        self._changed = Condition()

    def admitted(self, rounds: Iterable[T]) -> Iterator[T]:
        """The rounds, each asked for when it is due."""
        source = iter(rounds)
        while True:
            with self._changed:
                while (left_s := self.due_s() - self._clock()) > 0 and not self._is_closed:
                    self._changed.wait(left_s)
                if self._is_closed:
                    return
            asked_s = self._clock()
            try:
                one = next(source)
            except StopIteration:
                return
            with self._changed:
                self._taken += 1
                self._asked_s.append(asked_s)
            yield one

    def close(self) -> None:
        """Ask for no more rounds: those under way may never end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def due_s(self) -> float:
        """When the next round should be taken, by the clock."""
        now, free = self._clock(), [0.0 for _ in self._stages]
        for number in range(self._ended[-1], self._taken):  # of those under way, the first one first
            at = now
            for stage in self._stages:
                if self._ended[stage] > number:
                    continue
                is_in_it = self._begun[stage] > number
                begin = self._began_s[stage] if is_in_it else max(at, free[stage])
                at = free[stage] = max(now, begin + self._expected_s[stage])
        due_s = max(free[stage] - sum(self._expected_s[:stage]) for stage in self._stages)
        return due_s - min(self._taking_s)  # the shortest of them did not wait for a camera

    @contextmanager
    def stage(self, number: int) -> Iterator[None]:
        """A stage's work on the next round."""
        began = self._clock()
        with self._changed:
            self._began_s[number] = began
            self._begun[number] += 1
            if not number and self._asked_s:
                self._taking_s.append(began - self._asked_s.popleft())
        try:
            yield
        finally:
            with self._changed:
                took_s = self._clock() - began
                is_first = not self._ended[number]
                self._expected_s[number] += (1 if is_first else _NEWEST) * (took_s - self._expected_s[number])
                self._ended[number] += 1
                self._changed.notify_all()

    def timed(self, number: int, work: Callable[[T], R]) -> Callable[[T], R]:
        """What a stage does with a round, told to this."""

        def run(one: T) -> R:
            with self.stage(number):
                return work(one)

        return run
