"""Runs `mapadmin` so that it dies by SIGKILL at a chosen step: `python dying.py STEP ARGS…`.

A step is a statement to the server, a file that is moved, or a request to S3: the process is killed
right before the one of that number. Exits like mapadmin when there are fewer.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from mapadmin.cli import main
from mapadmin.db.server import Server


def die_at(step: int) -> None:
    """Count steps from now on, and let the one of this number be the last thing that is tried."""
    import botocore.client

    count = 0

    def dying(function: Any) -> Any:
        def counted(*args: Any, **keywords: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **keywords)

        return counted

    Server.query = dying(Server.query)  # type: ignore[method-assign]
    Path.rename = dying(Path.rename)  # type: ignore[method-assign]
    os.link = dying(os.link)
    botocore.client.BaseClient._make_api_call = dying(botocore.client.BaseClient._make_api_call)


if __name__ == "__main__":
    die_at(int(sys.argv.pop(1)))
    main()
