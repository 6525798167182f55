"""Print a script that completes pyruntime's command line in a shell.

It knows verbs, flags, their choices, the names of the catalogue, *.gguf files and, after `rm`, what is in the cache. To
have it in every shell:

- bash, in ~/.bashrc: `eval "$(pyruntime completion bash)"`
- zsh, in ~/.zshrc, after compinit: `eval "$(pyruntime completion zsh)"`
- fish, in ~/.config/fish/config.fish: `pyruntime completion fish | source`

There is no `--json`: what it prints is a script, for the shell to read.
"""

from __future__ import annotations

import argparse

from pyruntime.completion import SHELLS


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")


def run(args: argparse.Namespace) -> int:
    from pyruntime import cli
    from pyruntime.catalogue import entries
    from pyruntime.completion import Verb, script

    modules = cli.find_verbs()
    verbs = [Verb.of(name, cli.summary(module), cli.verb_parser(name, module)) for name, module in modules.items()]
    common = Verb.of("", "", cli.main_parser({})).options
    print(script(args.shell, verbs, common, [entry.name for entry in entries()]), end="")
    return 0
