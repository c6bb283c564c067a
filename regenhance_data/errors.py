"""The error that a command answers with one line and exit code 2, how other exceptions are quoted, URLs without their
credentials, and interrupts.
"""

import errno
import re
import resource
from collections.abc import Sequence

from regenhance_data.defaults import SCALES

NO_MEMORY = (
    "there is too little memory, or this process may not have more (ulimit -a); end other programs, or raise the limit"
)
_OF_MEMORY = ("failed to map segment", "can't start new thread", "bad_alloc", "annot allocate memory")

# as a path has only one of its two slashes
_URL = re.compile(r"\b(?:[a-z][a-z0-9+.-]*://|(?:rtsp|rtmp|http)s?:/)\S+", re.IGNORECASE)
_USER = re.compile(r":/{1,2}\S*@")  # up to the last @: a password may have one that is not escaped
_PARTS = re.compile(r"([?&;#])")
_AFTER = ",:)'\""  # a URL in a text
# of a query, and of paths that are written like one: /user=me&password=hush, /user=me_password=hush
_VALUE = re.compile(r"([?&;/_#][^=?&;/_#\s]*=)[^&\s]*?(?=[,:;)'\"]*(?:[&\s]|$))")


class InputError(Exception):
    """Bad usage or input. The message is one line: which file, what is wrong with it, how to fix it."""


def refuse_below_one(**counts: int | None) -> None:
    """InputError, which names the flag, for each of the counts that is given and below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"--{name} {count}: expected at least 1")


def refuse_unless_shares(budgets: Sequence[float]) -> None:
    """InputError for --budgets that are not all shares of the macroblocks, neither none nor all of them."""
    if not all(0 < budget < 1 for budget in budgets):
        raise InputError("--budgets: expected shares between 0 and 1")


def refuse_scale(scale: int | None) -> None:
    """InputError for a --scale that no upscaler has."""
    if scale is not None and scale not in SCALES:
        raise InputError(f"--scale {scale}: expected a whole number from {SCALES[0]} to {SCALES[-1]}")


def refuse_jpeg_quality(quality: int | None, of_video: bool) -> None:
    """InputError for a --jpeg_quality out of range, and where no LR frames are made of a video."""
    if quality is None:
        return
    if not of_video:
        raise InputError("--jpeg_quality: goes with --video, of whose frames LR frames are made; --data has its own")
    if not 1 <= quality <= 100:
        raise InputError(f"--jpeg_quality {quality}: expected 1 to 100")


def one_line(error: BaseException, limit: int = 160, from_end: bool = False) -> str:
    """The message of a library's exception on one line, at most `limit` characters; with its type where it has no word.

    from_end: keep the end of a long message, where Paddle and PaddleSeg give the reason.
    """
    message = " ".join(str(error).split())
    if not re.search(r"[^\W\d_]", message):
        message = f"{type(error).__name__} {message}".strip()
    return message[-limit:] if from_end else message[:limit]


def redacted(text: str) -> str:
    """A text in which no URL shows a user, a password, a value of key=value or a part of its query without a key, where
    cameras have passwords too.
    """
    return _URL.sub(lambda url: _VALUE.sub(r"\1***", _without_parts(_USER.sub("://***@", url[0]))), text)


def _without_parts(url: str) -> str:
    """The URL without the parts of its query that have no key; they may end in =, as Base64 does."""
    path, mark, query = url.partition("?")
    return path + mark + "".join(map(_without_secret, _PARTS.split(query)))


def _without_secret(part: str) -> str:
    bare = part.rstrip(_AFTER)
    is_plain = bare in ("", "listen", *"?&;#") or "=" in bare.rstrip("=")
    return part if is_plain else "***" + part[len(bare) :]


def printable(text: str) -> str:
    """The text on one line, without credentials of URLs, and with escapes for control characters: a terminal obeys
    them, and others wrote some texts.
    """
    line = redacted(" ".join(text.split()))
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


def lacks_memory(error: BaseException) -> bool:
    """Whether this process may not have the memory or the threads that it asked for.

    Libraries in C make other errors of theirs of it, raised from it or, as SystemError, with no word of it: under a
    limit for memory, these count too.
    """
    is_refused = getattr(error, "errno", None) in (errno.ENOMEM, errno.EAGAIN)
    is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    if isinstance(error, MemoryError) or is_refused or (isinstance(error, SystemError) and is_limited):
        return True
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return any(said in str(error) for said in _OF_MEMORY) or (before is not None and lacks_memory(before))


def resumable(kept: str) -> KeyboardInterrupt:
    """An interrupt that tells what is `kept`, such as "kept 3 of 9 frames", of work that the same command goes on
    with.
    """
    return KeyboardInterrupt(f"{kept}; give the command again to go on")
