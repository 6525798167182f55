"""`python -m pyruntime` is `pyruntime`."""

import sys


def main() -> int:
    """`pyruntime.cli.main`, with Ctrl-C quiet from here on: importing that takes long enough to be interrupted."""
    try:
        from pyruntime.cli import main as run

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
