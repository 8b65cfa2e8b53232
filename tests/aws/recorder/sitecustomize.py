"""Python imports this by itself: it writes down every call that botocore makes, or signs.

`provide-client-params` is botocore's own event at the beginning of both.
"""

from __future__ import annotations

import os

if path := os.environ.get("MAPADMIN_TEST_CALLS"):
    import botocore.session

    _init = botocore.session.Session.__init__

    def _recorded(self, *args, **keywords):  # type: ignore[no-untyped-def]
        _init(self, *args, **keywords)
        self.register("provide-client-params", _write)

    def _write(model, **_):  # type: ignore[no-untyped-def]
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{model.service_model.service_name} {model.name}\n")

    botocore.session.Session.__init__ = _recorded
