"""Tables of kinds: what the tables of detectors and upscalers have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Kind:
    """A kind of detector or upscaler, as a spec NAME:ARGUMENT gives it.

    module: imported when a spec of this kind is used. argument: what follows the colon, '' for nothing; PATH is a file
    that must exist.
    """

    name: str
    module: str
    argument: str = ""

    @property
    def spec(self) -> str:
        """What a user types, for help and errors."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


K = TypeVar("K", bound=Kind)


def kind_of(spec: str, kinds: Mapping[str, K]) -> K | None:
    """The kind of a spec, None where there is no such kind or its argument is missing or superfluous."""
    name, colon, argument = spec.partition(":")
    kind = kinds.get(name)
    return kind if kind is not None and bool(colon) == bool(argument) == bool(kind.argument) else None


def known_specs(kinds: Mapping[str, K]) -> str:
    """Every kind as a user types it, for help and errors."""
    return ", ".join(kind.spec for kind in kinds.values())
