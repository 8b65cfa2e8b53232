"""What the hub's configuration takes from the folder that it shares with mapadmin.

In jupyterhub_config.py:

    import sys
    sys.path.insert(0, "/srv/mapadmin")            # where this file is
    import mapadmin_hub
    c.JupyterHub.template_vars = {"announcement": mapadmin_hub.Notice("/srv/mapadmin/notice.json")}

Everything is read when it is needed: nothing here wants a restart of the hub.
"""

import html
import json
from pathlib import Path


class Notice:
    """The text of `mapadmin jupyterhub notice`, read again for each page; no text, no notice."""

    def __init__(self, path):
        self.path = path

    def text(self):
        """Empty also when the file cannot be read: a page without a notice is better than none."""
        try:
            return str(json.loads(Path(self.path).read_text(encoding="utf-8"))["text"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def __bool__(self):
        return bool(self.text())

    def __html__(self):
        return html.escape(self.text())

    __str__ = __html__
