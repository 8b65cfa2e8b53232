"""What the hub's configuration takes from the folder that it shares with mapadmin.

In jupyterhub_config.py:

    import sys
    sys.path.insert(0, "/srv/mapadmin")            # where this file is
    import mapadmin_hub
    c.JupyterHub.template_vars = {"announcement": mapadmin_hub.Notice("/srv/mapadmin/notice.json")}
    c.JupyterHub.authenticator_class = mapadmin_hub.only_allowed(
        GitHubOAuthenticator, "/srv/mapadmin/allowed.json")
    c.Authenticator.allow_all = True               # of those whom the file allows
    c.Authenticator.auth_refresh_age = 60          # seconds until somebody removed is noticed
    c.Authenticator.refresh_pre_spawn = True
    c.Authenticator.auth_refresh_strict = True     # from 6.1 on; before, it was always so

Everything is read when it is needed: nothing here wants a restart of the hub.
"""

import html
import inspect
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


def read_allowed(path):
    """The users of `mapadmin jupyterhub apply`; None when the file cannot be read."""
    try:
        return {str(name) for name in json.loads(Path(path).read_text(encoding="utf-8"))["users"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def only_allowed(authenticator, path):
    """The same authenticator, for the users of the file alone.

    Nobody new is let in when the file cannot be read. Those who are in stay: a disk that is full
    for a moment must not throw everybody out.
    """

    class OnlyAllowed(authenticator):
        # Not check_allowed, which is not asked with allow_all (JupyterHub 5 and newer).
        async def check_blocked_users(self, username, authentication=None):
            allowed = read_allowed(path)
            if allowed is None:
                self.log.error("mapadmin: cannot read %s: nobody may log in", path)
            if allowed is None or username not in allowed:
                return False
            answer = super().check_blocked_users(username, authentication)
            return await answer if inspect.isawaitable(answer) else answer

        async def refresh_user(self, user, handler=None, **more):
            allowed = read_allowed(path)
            if allowed is not None and user.name not in allowed:
                return False
            answer = super().refresh_user(user, handler, **more)
            return await answer if inspect.isawaitable(answer) else answer

    # The hub tells this name to whoever asks how people log in.
    OnlyAllowed.__name__ = OnlyAllowed.__qualname__ = f"OnlyAllowed{authenticator.__name__}"
    return OnlyAllowed
