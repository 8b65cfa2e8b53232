"""Run the emulator: python -P -m mapadmin.sandbox.globus FOLDER --port=N

The port is printed once requests are answered.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from mapadmin.sandbox.globus.server import make_server


def main() -> None:
    parser = argparse.ArgumentParser(prog="mapadmin.sandbox.globus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = given.folder.resolve()
    os.chdir("/")  # it may outlive whoever started it, and must keep no folder busy
    server = make_server(folder, given.port)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    with server:
        server.serve_forever()


if __name__ == "__main__":
    main()
