"""The Pareto front of things that cost something and are worth something."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def pareto_front(
    items: Iterable[T], cost: Callable[[T], float], value: Callable[[T], float], margin: float = 0.0
) -> list[T]:
    """The items with a greater value than all cheaper ones, by more than `margin`, the cheapest first.

    Items whose value is NaN are left out. Of items with equal cost, only the best one is on the front.
    """
    front: list[T] = []
    for item in sorted(items, key=lambda item: (cost(item), -value(item))):
        if value(item) > (value(front[-1]) + margin if front else float("-inf")):
            front.append(item)
    return front
