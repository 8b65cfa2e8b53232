"""A user's server that writes down the tokens it is shown: FILE. Runs in place of Jupyter's."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Spy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if shown := self.headers.get("Authorization"):
            with Path(sys.argv[1]).open("a") as file:
                file.write(f"{shown}\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")


where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
HTTPServer((where.hostname or "", where.port or 0), Spy).serve_forever()
