"""No faster than the service allows, however many threads ask."""

from __future__ import annotations

import threading
import time

BURST = 8  # requests that may go at once after a pause: 8 + 10 s of 19 stay below 200


class Pace:
    """Lets `rate` requests a second through, and none while the service wants a rest."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._next = 0.0
        self._rest = 0.0

    def wait(self) -> None:
        """Return when the next request may go."""
        if self.rate:
            with self._lock:
                now = time.monotonic()
                turn = max(self._next, now - BURST / self.rate)
                self._next = turn + 1 / self.rate
            time.sleep(max(0.0, turn - now))
        while (left := self._rest - time.monotonic()) > 0:  # asked for while we slept
            time.sleep(left)

    def rest(self, seconds: float) -> None:
        """Nothing more for that long: the service has said so."""
        with self._lock:
            until = time.monotonic() + seconds
            self._rest = max(self._rest, until)
            self._next = max(self._next, until)
