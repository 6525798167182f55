"""The command line with real models, controlled by the pseudo-terminal that its stdin is: its Ctrl-C reaches nobody else."""

import sys

from fake_model import take_terminal

from pyruntime.__main__ import main

if __name__ == "__main__":
    take_terminal()
    sys.exit(main())
