"""`python -m pyruntime` is `pyruntime`."""

import os
import signal
import sys

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main() -> int:
    """`pyruntime.cli.main`, with Ctrl-C quiet from here on: importing that takes long enough to be interrupted."""
    # NumPy's threads, of which nothing here makes use, spin for 50 ms of processor time when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from pyruntime.cli import main as run

        code = run()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # all is written; to free a vocabulary and the interpreter would take another 100 ms
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own end would answer it with a traceback
    return code


if __name__ == "__main__":
    sys.exit(main())
