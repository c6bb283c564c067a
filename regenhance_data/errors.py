"""The error that a command answers with one line and exit code 2, how other exceptions are quoted, and interrupts."""

import re


class InputError(Exception):
    """Bad usage or input. The message is one line: which file, what is wrong with it, how to fix it."""


def one_line(error: BaseException, limit: int = 160, from_end: bool = False) -> str:
    """The message of a library's exception on one line, at most `limit` characters; with its type where it has no word.

    from_end: keep the end of a long message, where Paddle and PaddleSeg give the reason.
    """
    message = " ".join(str(error).split())
    if not re.search(r"[^\W\d_]", message):
        message = f"{type(error).__name__} {message}".strip()
    return message[-limit:] if from_end else message[:limit]


def resumable(kept: str) -> KeyboardInterrupt:
    """An interrupt that tells what is `kept`, such as "kept 3 of 9 frames", of work that the same command goes on
    with.
    """
    return KeyboardInterrupt(f"{kept}; give the command again to go on")
