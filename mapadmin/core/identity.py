"""Who is acting, from where: for the journal and the locks."""

from __future__ import annotations

import os
import pwd

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """A person at a machine."""

    who: str
    host: str


def whoami() -> Identity:
    """The person behind this process: behind sudo, the one who called it.

    By the user id and not by LOGNAME or USER, which anybody may set to anything.
    """
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user without a passwd entry
        user = str(uid)
    caller = os.environ.get("SUDO_USER")
    who = f"{caller} (as {user})" if caller and caller != user else user
    return Identity(who, os.uname().nodename)
