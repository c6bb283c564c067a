"""The error that a command answers with one line and exit code 2."""


class InputError(Exception):
    """Bad usage or input. The message is one line: which file, what is wrong with it, how to mend it."""


def one_line(error: BaseException) -> str:
    """The kind and the beginning of an exception's message, in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def brief(error: Exception) -> str:
    """What an engine's error says, on one line and not at length."""
    return " ".join(str(error).split())[:120] or type(error).__name__
