"""What the verbs share: the flags that choose a model and how it samples, their checks, and loading the model."""

from __future__ import annotations

import argparse
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyruntime.cli.progress import told
from pyruntime.cli.terminal import FetchReport, note
from pyruntime.errors import PyruntimeError

if TYPE_CHECKING:
    from pyruntime import Generation, Model, Sampling


class UsageError(PyruntimeError):
    """A command line that argparse accepts and that makes no sense all the same."""

    exit_code = 2


def count(text: str) -> int:
    """An argparse type: a whole number from 1 that an int32 holds."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 0 < value < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def thread_count(text: str) -> int:
    """An argparse type: as many threads as the core takes."""
    from pyruntime.system import MAX_THREADS

    value = count(text)
    if value > MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_THREADS}")
    return value


_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def byte_count(text: str) -> int:
    """An argparse type: 4G and 4GiB are 4 * 2**30 bytes, 4GB are 4 * 10**9, 4096 are so many."""
    found = re.fullmatch(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)([KMGT]?)(B|iB|)", text, re.IGNORECASE)
    value = 0
    if found:
        number, unit, end = found.groups()
        value = int(float(number) * (1000 if end.upper() == "B" else 1024) ** _UNITS[unit.upper()])
    if not 0 < value < 1 << 62:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, such as 4G, 500M or 1.5GB")
    return value


def utf8(text: str) -> str:
    """An argparse type: text, refused where the shell passed other bytes, which Python smuggles in as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not UTF-8") from None
    return text


def stop_text(text: str) -> str:
    """An argparse type: text that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("the text is empty")
    return utf8(text)


def decoded(data: bytes, what: str) -> str:
    """`data` as text; UsageError names the byte where it is none, rather than a prompt silently changed."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None


MODEL_HELP = "a GGUF file, a name of the catalogue, or hf:owner/repo[:QUANTIZATION]"
KV_TYPES = ("f16", "f32", "q8_0")  # of pyruntime.model.KVType, whose import takes 100 ms


def add_load_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """What `open_model` reads."""
    parser.set_defaults(draft=None, no_speculation=False)
    group = parser.add_argument_group("model")
    group.add_argument(
        "--context", type=count, metavar="N", help="tokens of context (default: the model's, up to 8192)"
    )
    group.add_argument(
        "--kv-type", choices=KV_TYPES, default=KV_TYPES[0],
        help="how keys and values are kept (default: f16); q8_0 takes about half the memory",
    )  # fmt: skip
    help = "memory that the process may take, such as 4G (default: what the system and the cgroup leave)"
    group.add_argument("--ram", type=byte_count, metavar="SIZE", help=help)
    group.add_argument("--threads", type=thread_count, metavar="N", help="threads (default: the physical cores)")
    return group


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Those of `add_load_options`, and what a prompt is made with."""
    group = add_load_options(parser)
    help = "a smaller model of the same vocabulary, which guesses tokens that this one checks several at a time"
    group.add_argument("--draft", metavar="MODEL", help=help)
    group.add_argument("--no-speculation", action="store_true", help="never guess tokens; the result is the same")
    group.add_argument("--system", type=utf8, metavar="TEXT", help="the system message")
    group.add_argument("--show-prompt", action="store_true", help="show on stderr the text that the model gets")


# Fields of Sampling by flag: (field, type, metavar, help).
_Flag = tuple[str, Callable[[str], object], str, str]
_SAMPLING: list[_Flag] = [
    ("temperature", float, "T", "0 is greedy"),
    ("top_k", int, "K", "keep the K likeliest tokens; 0 keeps all"),
    ("top_p", float, "P", "keep the likeliest tokens that sum to P"),
    ("min_p", float, "P", "drop tokens below P times the likeliest"),
    ("repetition_penalty", float, "R", "1 is none"),
    ("seed", int, "N", "the same seed gives the same text"),
]
_MORE_SAMPLING: list[_Flag] = [
    ("presence_penalty", float, "X", "taken once from the logit of a token that occurred"),
    ("frequency_penalty", float, "X", "taken for each time that it occurred"),
    ("penalty_last_n", int, "N", "tokens that the penalties look back on; -1: all"),
    ("dry_multiplier", float, "X", "DRY against repeated phrases; 0.8 is usual"),
    ("dry_base", float, "X", "how fast it grows with their length"),
    ("dry_allowed_length", int, "N", "the length from which it acts"),
    ("dry_penalty_last_n", int, "N", "tokens that it looks back on; -1: all"),
    ("typical_p", float, "P", "keep the tokens nearest to the entropy that sum to P"),
    ("top_n_sigma", float, "N", "keep logits within N deviations of the largest"),
    ("xtc_probability", float, "P", "how often XTC drops all top choices but the last"),
    ("xtc_threshold", float, "P", "the probability that makes a token a top choice"),
    ("dynatemp_range", float, "T", "vary the temperature by T with the entropy"),
    ("dynatemp_exponent", float, "X", "of the entropy"),
    ("mirostat", int, "V", "1 or 2: steer the surprise instead of cutting"),
    ("mirostat_tau", float, "B", "the surprise, in bits"),
    ("mirostat_eta", float, "X", "how fast it is learnt"),
]


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Each is None unless given: the defaults are those of `pyruntime.sampling.Sampling`."""
    group = parser.add_argument_group("sampling")
    group.add_argument("--max-tokens", type=count, metavar="N", help="end the answer after N tokens")
    group.add_argument("--stop", type=stop_text, metavar="TEXT", action="append", default=[], help="end before TEXT")
    _add_flags(group, _SAMPLING)
    more = parser.add_argument_group("more sampling")
    _add_flags(more, _MORE_SAMPLING)
    more.add_argument(
        "--dry-sequence-breaker", dest="dry_sequence_breakers", type=stop_text, metavar="TEXT", action="append",
        help="what no repeated phrase reaches across, instead of newline, colon, quote and asterisk",
    )  # fmt: skip


def _add_flags(group: argparse._ArgumentGroup, flags: list[_Flag]) -> None:
    for name, convert, metavar, help in flags:
        group.add_argument(f"--{name.replace('_', '-')}", type=convert, metavar=metavar, help=help)


def sampling(args: argparse.Namespace) -> Sampling:
    """The Sampling that the flags describe; UsageError for a value that it refuses."""
    from pyruntime.sampling import Sampling

    names = [name for name, *_ in _SAMPLING + _MORE_SAMPLING] + ["dry_sequence_breakers"]
    try:
        return Sampling(**{name: getattr(args, name) for name in names if getattr(args, name) is not None})
    except ValueError as error:
        raise UsageError(str(error)) from None


def find_model(name: str) -> Path:
    """Where a model is that MODEL_HELP describes; one that is not there is fetched."""
    from pyruntime.catalogue import locate

    with FetchReport() as report:
        return locate(name, report)


def open_model(args: argparse.Namespace) -> Model:
    """Load `args.model`, and the draft model before it; see `find_model`."""
    if args.draft is not None and args.no_speculation:
        raise UsageError("--draft guesses tokens, which --no-speculation forbids")
    path = find_model(args.model)
    draft_path = None if args.draft is None else find_model(args.draft)

    with _ended_by_ctrl_c():  # an interrupted import of NumPy raises ImportError, with a page of advice
        from pyruntime.memory import hold_to
        from pyruntime.model import Model

    threads = _threads(args.threads)
    if args.ram is not None:
        hold_to(args.ram, threads)
    options = {"threads": threads, "context": args.context, "kv_type": args.kv_type, "ram": args.ram}
    draft = None
    if draft_path is not None:
        with told("loading the draft model", "MB") as progress:
            draft = Model(draft_path, progress=progress, **options)
    with told("loading", "MB") as progress:
        model = Model(path, progress=progress, draft=draft, speculation=not args.no_speculation, **options)
    if model.context > model.trained_context:
        note(f"pyruntime: the model was trained on {model.trained_context} tokens: past them its answers degrade")
    return model


def _threads(asked: int | None) -> int:
    """How many threads to use: no more than hardware threads, since each of them waits for all others at every barrier."""
    from pyruntime.system import processors

    machine = processors()
    if asked is None:
        return machine.threads
    if asked > machine.allowed:
        note(f"pyruntime: {asked} threads would wait for each other on {machine.allowed}: {machine.allowed} are used")
    elif asked > machine.threads:
        note(
            f"pyruntime: {asked} threads wait for each other on {machine.threads} cores: --threads {machine.threads} is faster"
        )
    return min(asked, machine.allowed)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """While nothing is under way yet, Ctrl-C ends the process as the system does it: where Python's exception would come late, or
    as another. A shell reports 130 for that, too."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a parent may have it ignored
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def prepare_tokenizer(model: Model) -> None:
    """Builds what the first text would build: for a large vocabulary a third of a second inside one call of a library."""
    with _ended_by_ctrl_c():
        model.tokenizer.encode("a")


def say_if_full(model: Model, result: Generation, max_tokens: int | None) -> None:
    """An answer that the context cut off looks like a finished one: say that it is none."""
    if result.finish_reason == "length" and (max_tokens is None or len(result.ids) < max_tokens):
        note(
            f"pyruntime: the context of {model.context} tokens is full: the answer is cut off; --context sets its size"
        )
