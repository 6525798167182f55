"""The command line: `main()` finds the verb, runs it, and turns whatever goes wrong into one line and an exit code.

A verb is a file of this folder that defines `configure(parser)` and `run(args) -> int`; its docstring's first line is
its help. Only the verb asked for is imported, and it imports the model's side inside `run()`: `--help` is instant.
"""

import argparse
import errno
import os
import pkgutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from pyruntime.cli.terminal import be_quiet, prepare_streams, say, say_error
from pyruntime.errors import MemoryLimitError, PyruntimeError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


# Errors of writing alone. Where one names no file, it is stdout's: all other files are named where they are written.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code; see `pyruntime.errors`.

    KeyboardInterrupt for Ctrl-C, once what came until then has been written.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    prepare_streams()
    try:
        try:
            return _dispatch(argv)
        finally:
            sys.stdout.flush()  # here, so that a full disk or a closed pipe is met below, not at the interpreter's exit
    except SystemExit as stop:  # argparse: --help, --version and usage errors
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:  # `pyruntime ... | head`: the reader has what it wanted
        _forget_stdout()
        return 1
    except Exception as error:
        if isinstance(error, OSError):
            _forget_stdout()
        say_error(_describe(error), debug="--debug" in argv)
        return _exit_code(error)


def _dispatch(argv: list[str]) -> int:
    """Run the verb: the first word that is no flag, since no flag before it takes a value."""
    at = next((i for i, word in enumerate(argv) if not word.startswith("-")), len(argv))
    verbs = find_verbs(argv[at] if at < len(argv) else "")
    if list(verbs) != argv[at : at + 1]:
        _refuse(argv[:at], argv[at:], verbs)
    ((name, module),) = verbs.items()
    parser = verb_parser(name, module)
    # Intermixed: otherwise argparse takes `MODEL --raw PROMPT` for a MODEL and one word too many.
    args, unknown = parser.parse_known_intermixed_args([*argv[:at], *argv[at + 1 :]])
    if unknown:
        parser.refuse(unknown)
    be_quiet(args.quiet)
    code: int = module.run(args)
    return code


def _refuse(flags: list[str], rest: list[str], verbs: dict[str, ModuleType]) -> NoReturn:
    """What `pyruntime` does without a verb: help, version, or a usage error. rest: what follows the flags, no verb first."""
    from pyruntime import catalogue
    from pyruntime.cli.suggestion import did_you_mean

    parser = main_parser(verbs)
    _, unknown = parser.parse_known_args([flag for flag in flags if flag != "--"])
    if unknown:
        parser.refuse(unknown)
    if not rest:
        parser.error("the following arguments are required: VERB")
    word = rest[0]
    if word.endswith(".gguf") or catalogue.is_name(word):
        hint = f": did you mean 'chat {word}'?"
    else:
        hint = did_you_mean([word], [*verbs, *parser.flags]) or ": there are " + ", ".join(map(repr, verbs))
    parser.error(f"unknown command {word!r}{hint}")


def main_parser(verbs: dict[str, ModuleType]) -> "_Parser":
    """The parser of what stands before a verb."""
    parser = _Parser(
        prog="pyruntime",
        description="A CPU-first runtime for GGUF language models.",
        epilog="Exit codes: 0 success, 2 usage, 3 bad file, 4 memory, 5 unsupported, 1 any other error, 130 Ctrl-C.",
        allow_abbrev=False,
    )
    _add_common(parser)
    choices = parser.add_subparsers(metavar="VERB", title="verbs")
    for name, module in verbs.items():
        text = summary(module)
        choices.add_parser(name, help=text[:1].lower() + text[1:].removesuffix("."))
    return parser


def verb_parser(name: str, module: ModuleType) -> "_Parser":
    """The parser of a verb's own arguments and of the common ones."""
    parser = _Parser(prog=f"pyruntime {name}", description=summary(module), allow_abbrev=False)
    module.configure(parser)
    _add_common(parser)
    return parser


def help_of(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """The help text of an argument with its %-fields filled in, on one line."""
    fields = vars(action) | {"prog": parser.prog}
    if action.choices is not None:
        fields["choices"] = ", ".join(map(str, action.choices))
    return " ".join(((action.help or "") % fields).split())


def find_verbs(wanted: str = "") -> dict[str, ModuleType]:
    """The verb that is wanted, by its name; all of them if it is none."""
    names = sorted(file.name for file in pkgutil.iter_modules(__path__))
    modules = {name: import_module(f"{__name__}.{name}") for name in ([wanted] if wanted in names else names)}
    verbs = {name: module for name, module in modules.items() if hasattr(module, "run")}
    return verbs or find_verbs()


def summary(verb: ModuleType) -> str:
    return (verb.__doc__ or "").partition("\n")[0]


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", action=_ShowVersion, nargs=0, help="show the version, the build and its instruction sets"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="nothing on stderr but errors")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


class _ShowVersion(argparse.Action):
    """--version: the core is loaded only now, and one that cannot be is told of, too."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from pyruntime.cli.versions import version_text

        print(version_text())
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """argparse, with usage errors in one line as every other error."""

    @property
    def flags(self) -> list[str]:
        return list(self._option_string_actions)

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse's own keeps quiet about a disk that is full

    def refuse(self, unknown: list[str]) -> NoReturn:
        """The usage error of arguments that are none of this parser's."""
        from pyruntime.cli.suggestion import did_you_mean

        # Of flags and words the flags alone: versions of Python differ in what follows an unknown one.
        flags = [word.partition("=")[0] for word in unknown if word.startswith("-") and word != "--"]
        self.error(f"unrecognized arguments: {' '.join(flags or unknown)}{did_you_mean(flags, self.flags)}")

    def error(self, message: str) -> NoReturn:
        say(f"pyruntime: {message} (see `{self.prog} --help`)")
        self.exit(2)


def _describe(error: Exception) -> str:
    if isinstance(error, PyruntimeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, ImportError):  # not built, or a package that is missing: its message says which
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = error.filename or ("stdout" if error.errno in _NO_ROOM else "")
        return f"{where}: {error.strerror}" if where else error.strerror
    return f"internal error: {type(error).__name__}: {error} (--debug shows where)"


def _exit_code(error: Exception) -> int:
    if isinstance(error, MemoryError):
        return MemoryLimitError.exit_code
    return error.exit_code if isinstance(error, PyruntimeError) else PyruntimeError.exit_code


def _forget_stdout() -> None:
    """Let the interpreter's last flush of a stdout that no longer takes anything go to nowhere, silently."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
