"""What the settings of all trainings refuse, free of PyTorch."""

from regenhance_data.errors import InputError

_MOST_SEED = 2**32 - 1  # PyTorch and NumPy take it


def refuse_training_flags(seed: int, **counts: int) -> None:
    """InputError, which names the flag, for a seed that no library takes and for each of the counts below 1."""
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"--{name} {count}: expected at least 1")
    if not 0 <= seed <= _MOST_SEED:
        raise InputError(f"--seed {seed}: expected 0 to {_MOST_SEED}")
