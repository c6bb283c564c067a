"""Import Paddle so that it leaves the process as it was: its warnings unsaid, the signals with their handlers."""

import signal
import threading
import warnings
from typing import Any

_TAKEN_BY_PADDLE = (signal.SIGTERM, signal.SIGINT)


def import_paddle() -> Any:
    """The module `paddle`.

    Paddle installs a handler of its own for SIGTERM, which ends the process with a stack trace: the handlers of before
    are put back. Python can do that in the main thread alone; in another one SIGTERM ends the process from then on.
    """
    handlers = {number: signal.getsignal(number) for number in _TAKEN_BY_PADDLE}
    # Paddle warns of a compiler cache that only its C++ extensions would use
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    # one that comes meanwhile is delivered afterwards
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        import paddle

        paddle.disable_signal_handler()
    finally:
        _put_back(handlers)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return paddle


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in handlers.items():
        if handler is not None:  # None: not installed by Python
            signal.signal(number, handler)
