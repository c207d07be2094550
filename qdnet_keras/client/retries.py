"""When a call that failed is made again."""

import random
import time

from qdnet_keras.client.transport import CallError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds, before the jitter


class Retries:
    """Pauses drawn at random from 0 to a bound that doubles each time, until time is up.

    Args:
        timeout: Seconds that all tries together may take.
        patience: Seconds after which a failed try is the last.
        until_loaded: Whether a model that the server does not know is waited for.
    """

    def __init__(self, timeout: float, patience: float, until_loaded: bool = False):
        self._start = time.monotonic()
        self.timeout, self._patience = timeout, min(timeout, patience)
        self._codes = {"UNAVAILABLE", "NOT_FOUND"} if until_loaded else {"UNAVAILABLE"}
        self._bound = FIRST_PAUSE

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that the next try may take, more than 0."""
        return max(self.timeout - self.elapsed, 0.001)

    def pause(self, error: CallError) -> float | None:
        """Seconds to wait before the next try; None where there is none."""
        pause = random.uniform(0, self._bound)
        self._bound = min(2 * self._bound, LONGEST_PAUSE)
        in_time = self.elapsed + pause < self._patience
        return pause if self._is_transient(error) and in_time else None

    def _is_transient(self, error: CallError) -> bool:
        if error.is_distrust:
            return False
        if error.code == "RESOURCE_EXHAUSTED":  # also said of messages above a limit
            return "try again" in error.details
        return error.code in self._codes
