"""The size of small upscalers, and what the settings of all trainings refuse; free of PyTorch."""

from regenhance_data.errors import InputError, refuse_below_one

CHANNELS, LAYERS = 24, 5  # of a small upscaler: 24,000, 27,000 and 32,000 parameters at ×2, ×3 and ×4
_MOST_SEED = 2**32 - 1  # PyTorch and NumPy take it


def refuse_training_flags(seed: int, **counts: int) -> None:
    """InputError, which names the flag, for a seed that no library takes and for each of the counts below 1."""
    refuse_below_one(**counts)
    if not 0 <= seed <= _MOST_SEED:
        raise InputError(f"--seed {seed}: expected 0 to {_MOST_SEED}")
