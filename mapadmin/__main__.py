"""The installed `mapadmin`, and `python -m mapadmin`."""

import gc

# What is imported stays to the end. Looking through it for garbage, again and again while more is
# imported and once more when the interpreter ends, takes a quarter of a short command's time.
gc.set_threshold(100_000)

from mapadmin import cli  # noqa: E402


def main() -> None:
    """See `mapadmin.cli.main`."""
    try:
        cli.main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
