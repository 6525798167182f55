"""The command line: usage, `generate`, errors and their exit codes."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import fake_model
import pytest
from cli_tools import EXIT_CODES, TIMEOUT, Cli, assert_one_line_error

import pyruntime
from pyruntime import _core, errors
from pyruntime.catalogue import DEFAULT
from pyruntime.cli.options import byte_count
from pyruntime.sampling import Sampling

# Usage

VERBS = "'bench', 'chat', 'completion', 'doctor', 'generate', 'inspect', 'models', 'pull', 'rm'"
TEMPERATURE = "did you mean '--temperature'? (see `pyruntime chat --help`)"


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["VERB", "pyruntime --help"]),
        (["sing"], ["'sing'", "'chat'", "'generate'"]),
        (["terminal"], ["'terminal'", "'chat'"]),  # a file of the folder, and no verb
        (["generate"], ["MODEL", "pyruntime generate --help"]),
        (["generate", "MODEL", "p", "--max-tokens", "0"], ["--max-tokens", "'0' is not a whole number of at least 1"]),
        (["generate", "MODEL", "p", "--context", "many"], ["--context", "'many'"]),
        (["generate", "MODEL", "p", "--threads", "9" * 40], ["--threads", "9999"]),
        (["generate", "MODEL", "p", "--threads", "1025"], ["--threads", "'1025' is more than 1024"]),
        (["generate", "MODEL", "p", "--top-k", "9" * 20], ["top_k", "2**63 - 1"]),
        (["generate", "MODEL", "p", "--top-k", "1.5"], ["--top-k", "1.5"]),
        (["generate", "MODEL", "p", "--top-p", "0"], ["top_p"]),
        (["generate", "MODEL", "p", "--min-p", "2"], ["min_p"]),
        (["generate", "MODEL", "p", "--temperature", "nan"], ["temperature"]),
        (["generate", "MODEL", "p", "--temperature", "-1"], ["temperature"]),
        (["generate", "MODEL", "p", "--repetition-penalty", "0"], ["repetition_penalty"]),
        (["generate", "MODEL", "p", "--seed", str(2**64)], ["seed"]),
        (["generate", "MODEL", "p", "--temp", "1"], ["--temp"]),  # no abbreviations: they break when a flag is added
        (["generate", "MODEL", "p", "--raw", "--system", "s"], ["--system", "--raw"]),
        (["generate", "MODEL", "\udcff"], ["PROMPT", "not UTF-8"]),
        (["generate", "MODEL", ""], ["the prompt is empty"]),
        (["generate", "MODEL"], ["the prompt is empty"]),  # stdin is
        (["chat", "MODEL", "extra"], ["extra"]),
        (["chat", "MODEL", "--top-p", "0"], ["top_p"]),
    ],
)
def test_usage_errors(cli: Cli, argv: list[str], parts: list[str]) -> None:
    done = cli(*(cli.model if word == "MODEL" else word for word in argv))
    assert_one_line_error(done, 2, *parts)
    assert done.out == ""


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("chatt", "unknown command 'chatt': did you mean 'chat'? (see `pyruntime --help`)"),
        ("gen MODEL p", "unknown command 'gen': did you mean 'generate'? (see `pyruntime --help`)"),
        ("-- chatt", "unknown command 'chatt': did you mean 'chat'? (see `pyruntime --help`)"),
        ("help", "unknown command 'help': did you mean '--help'? (see `pyruntime --help`)"),
        ("m.gguf", "unknown command 'm.gguf': did you mean 'chat m.gguf'? (see `pyruntime --help`)"),
        (DEFAULT, f"unknown command '{DEFAULT}': did you mean 'chat {DEFAULT}'? (see `pyruntime --help`)"),
        ("sing", f"unknown command 'sing': there are {VERBS} (see `pyruntime --help`)"),
        ("", "the following arguments are required: VERB (see `pyruntime --help`)"),
        ("--hlep", "unrecognized arguments: --hlep: did you mean '--help'? (see `pyruntime --help`)"),
        ("--verson chat", "unrecognized arguments: --verson: did you mean '--version'? (see `pyruntime chat --help`)"),
        ("chat MODEL --temprature 0.5", f"unrecognized arguments: --temprature: {TEMPERATURE}"),
        ("chat --temprature 0.5 MODEL", f"unrecognized arguments: --temprature: {TEMPERATURE}"),
        ("chat MODEL --temp=1 word", f"unrecognized arguments: --temp: {TEMPERATURE}"),
        ("chat MODEL -Temperature", f"unrecognized arguments: -Temperature: {TEMPERATURE}"),
        ("chat MODEL --nonesuch 1", "unrecognized arguments: --nonesuch (see `pyruntime chat --help`)"),
        ("chat MODEL --dry 1", "unrecognized arguments: --dry (see `pyruntime chat --help`)"),  # six flags begin so
        ("chat MODEL -n 1", "unrecognized arguments: -n (see `pyruntime chat --help`)"),
        (
            "rm x --leftover --jsn -z",
            "unrecognized arguments: --leftover --jsn -z: did you mean '--leftovers' and '--json'? "
            "(see `pyruntime rm --help`)",
        ),
        ("chat MODEL one", "unrecognized arguments: one (see `pyruntime chat --help`)"),
    ],
)
def test_suggestions(cli: Cli, line: str, error: str) -> None:
    """To the letter: they are the same in every version of Python."""
    done = cli(*(cli.model if word == "MODEL" else word for word in line.split()))
    assert done == (2, "", f"pyruntime: {error}\n")


@pytest.mark.parametrize("argv", [["--help"], ["chat", "--help"], ["generate", "--help"]])
def test_help(cli: Cli, argv: list[str]) -> None:
    done = cli(*argv)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: {' '.join(['pyruntime', *argv[:-1]])}")


def test_help_names_the_verbs_and_the_exit_codes(cli: Cli) -> None:
    out = cli("--help").out
    assert "chat" in out
    assert "generate" in out
    assert "2 usage" in out
    assert DEFAULT in cli("chat", "--help").out


def test_version(cli: Cli) -> None:
    done = cli("--version")
    build = _core.build_info()
    assert (done.code, done.err) == (0, "")
    first, built, runs = done.out.splitlines()
    assert first == f"pyruntime {pyruntime.__version__}"
    assert built == f"built by {build['compiler']} for {build['processor']} ({build['build_type']})"
    assert runs == f"runs {_core.isa()} of {', '.join(isa['name'] for isa in build['isas'])}"


def test_version_with_an_instruction_set_that_is_none(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNTIME_ISA", "mmx")
    done = cli("--version")
    assert done.code == 0
    assert "runs nothing: PYRUNTIME_ISA: no instruction set named 'mmx'" in done.out


def imported_by(*argv: str) -> set[str]:
    script = "import sys; from pyruntime.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, timeout=TIMEOUT, text=True)
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    imported = imported_by("--help")
    assert {"pyruntime.cli.chat", "pyruntime.cli.generate"} <= imported
    heavy = {"numpy", "tokenizers", "minijinja", "subprocess", "asyncio", "pyruntime.model", "pyruntime._core"}
    assert not imported & heavy


def test_a_verb_imports_only_itself() -> None:
    imported = imported_by("generate", "nope.gguf", "p")
    assert "pyruntime.cli.generate" in imported
    assert not imported & {"pyruntime.cli.chat", "pyruntime.model", "numpy"}  # nor a model for a file that is not there


# generate


def test_generate(cli: Cli) -> None:
    assert cli.generate("say héllo") == (0, "héllo\n", "")


def test_newline_at_the_end_is_not_doubled(cli: Cli) -> None:
    assert cli.generate("say hello\n") == (0, "hello\n", "")


def test_raw(cli: Cli) -> None:
    assert cli.generate("--raw", "once upon") == (0, "<once upon>\n", "")


@pytest.mark.parametrize("prompt", [[], ["-"]])
def test_prompt_from_stdin(cli: Cli, prompt: list[str]) -> None:
    assert cli.generate("--raw", *prompt, stdin="a\r\n é\n\n".encode()) == (0, "<a\r\n é\n>\n", "")


def test_prompt_that_looks_like_a_flag(cli: Cli) -> None:
    assert cli.generate("--raw", "--", "--json") == (0, "<--json>\n", "")


def test_stdin_that_is_not_utf8(cli: Cli) -> None:
    assert_one_line_error(cli.generate(stdin=b"ab\xff"), 2, "stdin is not UTF-8: byte 0xff at 2")


def test_system_message(cli: Cli) -> None:
    assert json.loads(cli.generate("history", "--system", "Be brief.").out) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "history"},
    ]


def test_sampling_flags(cli: Cli) -> None:
    flags = {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.25,
        "min_p": 0.125,
        "repetition_penalty": 1.5,
        "presence_penalty": -0.5,
        "frequency_penalty": 0.25,
        "penalty_last_n": -1,
        "dry_multiplier": 0.75,
        "dry_base": 2.0,
        "dry_allowed_length": 4,
        "dry_penalty_last_n": 100,
        "typical_p": 0.5,
        "top_n_sigma": 1.5,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.25,
        "dynatemp_range": 0.5,
        "dynatemp_exponent": 2.0,
        "mirostat": 2,
        "mirostat_tau": 3.0,
        "mirostat_eta": 0.5,
        "seed": 2**64 - 1,
        "max_tokens": 9,
        "context": 77,
        "kv_type": "q8_0",
    }
    argv = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    texts = ("--stop", "a", "--stop", "b", "--dry-sequence-breaker", "c")
    got = json.loads(cli.generate("options", *argv, *texts).out)
    assert set(asdict(Sampling())) - set(flags) == {"dry_sequence_breakers", "logit_bias"}
    assert {name: got[name] for name in flags} == flags
    assert (got["stop"], got["dry_sequence_breakers"]) == (["a", "b"], ["c"])


def test_no_flag_leaves_the_defaults(cli: Cli) -> None:
    defaults = asdict(Sampling()) | {"max_tokens": None, "stop": [], "context": 512, "kv_type": "f16"}
    defaults |= {"speculation": True, "draft": None}
    assert json.loads(cli.generate("options").out) == json.loads(json.dumps(defaults))


@pytest.mark.parametrize("verb", ["generate", "chat"])
def test_speculation(cli: Cli, tmp_path: Path, verb: str) -> None:
    small = tmp_path / "small.gguf"
    small.write_text("fake")
    ask = {"generate": (["options"], b""), "chat": ([], b"options\n")}[verb]
    drafted = json.loads(cli(verb, cli.model, *ask[0], "--draft", str(small), "--context", "77", stdin=ask[1]).out)
    assert (drafted["draft"], drafted["speculation"]) == ([str(small), 77], True)
    off = json.loads(cli(verb, cli.model, *ask[0], "--no-speculation", stdin=ask[1]).out)
    assert (off["draft"], off["speculation"]) == (None, False)
    both = cli(verb, cli.model, *ask[0], "--draft", str(small), "--no-speculation", stdin=ask[1])
    assert_one_line_error(both, 2, "--draft", "--no-speculation")
    small.write_text("fail GGUFError")
    assert_one_line_error(cli(verb, cli.model, *ask[0], "--draft", str(small), stdin=ask[1]), 3, "the GGUFError of")


def test_json(cli: Cli) -> None:
    done = cli.generate("controls", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()  # and so no control sequence
    assert done.out.count("\n") == 1
    report = json.loads(done.out)
    assert report == {
        "model": cli.model,
        "text": fake_model.CONTROLS,
        "ids": list(range(len(fake_model.CONTROLS))),
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "seed": 7,
        "timings": fake_model.TIMINGS,
    }


def test_log_probabilities_are_in_the_json(cli: Cli) -> None:
    report = json.loads(cli.generate("say a", "--json", "--logprobs", "2").out)
    assert report["logprobs"] == [{"id": 5, "logprob": -0.5, "top": [[5, -0.5], [6, -1.25]]}]
    assert json.loads(cli.generate("say a", "--json", "--logprobs", "0").out)["logprobs"][0]["top"] == []
    assert_one_line_error(cli.generate("say a", "--logprobs", "2"), 2, "--logprobs", "--json")
    for wrong in ("-1", "1025"):
        assert_one_line_error(cli.generate("say a", "--json", "--logprobs", wrong), 2, "between 0 and 1024")


def test_thoughts_are_not_the_answer(cli: Cli) -> None:
    assert cli.generate("think hm\x1b: yes") == (0, "yes\n", "")
    report = json.loads(cli.generate("think hm\x1b: yes", "--json").out)
    assert (report["text"], report["reasoning"]) == ("yes", "hm\x1b")


def test_the_prompt_as_the_model_gets_it(cli: Cli) -> None:
    messages = json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "say a"}])
    assert cli.generate("say a", "--system", "s", "--show-prompt") == (0, "a\n", f"<s>{messages}\n\\x1b\n")
    assert cli.generate("a\nb", "--raw", "--show-prompt") == (0, "<a\nb>\n", "<s>a\nb\n\\x1b\n")


def test_base_model_completes(cli: Cli) -> None:
    Path(cli.model).write_text("base")
    done = cli.generate("once")
    assert (done.code, done.out) == (0, "<once>\n")
    assert done.err == "pyruntime: no chat template in the model: plain completion\n"


def test_base_model_has_no_place_for_a_system_message(cli: Cli) -> None:
    Path(cli.model).write_text("base")
    assert_one_line_error(cli.generate("once", "--system", "s"), 5, "no chat template", "--system")


def test_answer_that_the_context_cuts_off(cli: Cli) -> None:
    done = cli.generate("full", "--context", "99")
    assert (done.code, done.out) == (0, "cut\n")
    assert "the context of 99 tokens is full" in done.err


def test_answer_that_max_tokens_ends_is_no_surprise(cli: Cli) -> None:
    assert cli.generate("full", "--max-tokens", "1") == (0, "cut\n", "")


def test_what_makes_answers_slow_or_bad_is_said(cli: Cli) -> None:
    assert "900 threads would wait for each other" in cli.generate("say a", "--threads", "900").err
    assert "the model was trained on 1024 tokens" in cli.generate("say a", "--context", "1025").err
    assert cli.generate("say a", "--threads", "1", "--context", "1024").err == ""


# Errors


def test_exit_codes_cover_every_error() -> None:
    kinds = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert kinds == set(EXIT_CODES)


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
@pytest.mark.parametrize("where", ["fail", "half"])
def test_error_while_answering(cli: Cli, name: str, code: int, where: str) -> None:
    done = cli.generate(f"{where} {name}")
    assert_one_line_error(done, code, f"the {name} of\\x1b[31m a test")
    assert done.out == ("half\n" if where == "half" else "\n")


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_error_while_loading(cli: Cli, name: str, code: int) -> None:
    Path(cli.model).write_text(f"fail {name}")
    for done in (cli.generate("say hello"), cli.chat("say hello\n")):
        assert_one_line_error(done, code, name)
        assert done.out == ""


def test_out_of_memory(cli: Cli) -> None:
    assert_one_line_error(cli.generate("fail MemoryError"), 4, "out of memory")


def test_a_bug_is_one_line_too(cli: Cli) -> None:
    done = cli.generate("fail TypeError")
    assert_one_line_error(done, 1, "internal error: TypeError: the TypeError of", "--debug")


@pytest.mark.parametrize("name", ["GGUFError", "TypeError"])
def test_debug_shows_the_traceback(cli: Cli, name: str) -> None:
    for argv in (["--debug", "generate", cli.model], ["generate", cli.model, "--debug"]):
        done = cli(*argv, f"fail {name}")
        assert done.err.startswith("Traceback (most recent call last):\n")
        assert "in failing" in done.err
        assert "\x1b" not in done.err
        assert done.err.splitlines()[-1].startswith("pyruntime: ")


def test_neither_a_file_nor_a_name(cli: Cli) -> None:
    for done in (cli("generate", "nope\x1b.gguf", "p"), cli("chat", "nope\x1b.gguf")):
        assert_one_line_error(done, 3, "nope\\x1b.gguf: no such file, and no model of the catalogue", DEFAULT)
    assert_one_line_error(cli("generate", "", "p"), 3, "'': no such file")


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("4096", 4096),
        ("4G", 4 << 30),
        ("4g", 4 << 30),
        ("4GiB", 4 << 30),
        ("4GB", 4 * 10**9),
        ("1.5M", 3 << 19),
        ("512kb", 512_000),
        ("7B", 7),
        ("2T", 2 << 40),
    ],
)
def test_sizes(text: str, n_bytes: int) -> None:
    assert byte_count(text) == n_bytes


@pytest.mark.parametrize(
    "text", ["", "0", "-1G", "4 G", "G", "4X", "nan", "inf", "1e9", "4Gi", "9" * 30, "99999999T", "0.1B", "٣G"]
)
def test_no_sizes(text: str, cli: Cli) -> None:
    assert_one_line_error(cli.generate("say a", f"--ram={text}"), 2, "--ram", "is no size")
