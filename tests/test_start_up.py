"""What starting costs, in CPU time: less than anything else on a busy machine does it depend on the neighbours. And in memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf_maker
import numpy as np
import pytest
import tiny_gguf
from gguf_maker import ARRAY, FLOAT32, STRING
from tokenizer_vocabulary import ALPHABET

RUNS = 10  # the best of at most so many: an interrupt, a cold cache or a slow clock only ever adds


def cpu_ms(*argv: str) -> float:
    """User and system time of a Python that runs these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


@pytest.mark.parametrize(
    ("code", "budget"),
    [
        ("import numpy, pyruntime", 60),  # ms beyond NumPy; measured: 3
        ("import numpy, pyruntime; pyruntime.Model", 100),  # and what its first use loads; measured: 50
    ],
)
def test_importing(code: str, budget: float) -> None:
    numpy = ours = float("inf")
    for _ in range(RUNS):
        numpy = min(numpy, cpu_ms("-c", "import numpy"))
        ours = min(ours, cpu_ms("-c", code))
        if ours - numpy <= budget:
            return
    pytest.fail(f"{code}: {ours:.0f} ms, NumPy alone {numpy:.0f} ms: more than {budget} ms beyond it")


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["chat", "--help"], ["completion", "bash"]])
def test_the_command_line_answers_at_once(argv: list[str]) -> None:
    assert any(cpu_ms("-m", "pyruntime", *argv) <= 150 for _ in range(RUNS))  # measured: 50


def test_help_loads_neither_numpy_nor_the_core() -> None:
    code = (
        "import contextlib, io, sys; from pyruntime.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): assert main(['--help']) == 0\n"
        "print(*{'numpy', 'pyruntime._core', 'rich', 'prompt_toolkit', 'huggingface_hub'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


# A terminal's, other kinds of tokenizers and templates, the network's, NumPy's; hashlib loads OpenSSL (4 ms, 3 MB).
UNNEEDED = {
    *("rich", "prompt_toolkit", "asyncio", "pygments", "markdown_it", "curses", "readline"),
    *("sentencepiece", "jinja2", "huggingface_hub", "requests", "httpx", "ssl", "http", "email", "urllib.request"),
    *(
        "numpy.random",
        "numpy.fft",
        "numpy.polynomial",
        "numpy.ma",
        "numpy.testing",
        "hashlib",
        "secrets",
        "importlib.metadata",
    ),
}


@pytest.mark.parametrize(
    "argv", [["chat", "MODEL", "--max-tokens", "1"], ["generate", "MODEL", "hi", "--max-tokens", "1"]]
)
def test_what_a_terminal_needs_is_not_loaded_in_a_pipe(argv: list[str], tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf")
    words = [str(path) if word == "MODEL" else word for word in argv]
    code = (
        f"import sys; from pyruntime.cli import main; assert main({words!r}) == 0\n"
        f"print(*{UNNEEDED!r} & set(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], input="hello\n", check=True, capture_output=True, text=True)
    assert run.stderr.split() == []


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("2", "2")])
def test_numpy_starts_no_threads(given: str | None, expected: str) -> None:
    """They take 50 ms of processor time in a command that lasts 200; who asks for them gets them."""
    code = (
        "import os, sys; sys.argv[1:] = ['--version']; from pyruntime.__main__ import main; main()\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'], file=sys.stderr)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    environment |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert run.stderr.strip() == expected


_COST_OF_A_VOCABULARY = """
import json, sys
from cost import cost
from pyruntime import _core
from pyruntime.tokenizer import load_tokenizer
import tokenizers, sentencepiece
with cost() as spent:
    file = _core.GGUF(sys.argv[1])
    tokenizer = load_tokenizer(file.header)
    ids = tokenizer.encode("the quick brown fox")
print(json.dumps([spent.megabytes, len(ids), "_metadata" in vars(file)]))
"""


def words(n: int) -> list[str]:
    return ["".join(chr(97 + i // 26**k % 26) for k in range(4)) for i in range(n)]


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_large_vocabulary_takes_little_memory(kind: str, tmp_path: Path) -> None:
    """150,000 tokens with as many merges, or 260,000 pieces with scores, up to the ids of a short text: with lists and dicts of
    Python's, and the tables of a library that merges, it was 126 and 120 MB."""
    string, array, kv = gguf_maker.string, gguf_maker.array, gguf_maker.kv
    letters = [chr(97 + i) for i in range(26)]
    if kind == "gpt2":
        found = words(26**3 * 8)
        tokens = dict.fromkeys([*ALPHABET, *(w[:n] for w in found for n in (2, 3, 4))])
        lines = [f"{token[:-1]} {token[-1]}" for token in tokens if len(token) > 1]
        more = [kv("tokenizer.ggml.pre", STRING, string("gpt-2"))]
        more.append(kv("tokenizer.ggml.merges", ARRAY, array(STRING, *map(string, lines))))
        allowed = 24  # measured: 16
    else:
        tokens = dict.fromkeys(["<unk>", "\u2581", *letters, *words(260_000)])
        more = [kv("tokenizer.ggml.scores", ARRAY, array(FLOAT32, *np.arange(len(tokens), dtype="<f4")))]
        allowed = 75  # measured: 56, most of it the library's
    assert len(tokens) > 130_000
    model = kv("tokenizer.ggml.model", STRING, string(kind))
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(
        gguf_maker.gguf((model, kv("tokenizer.ggml.tokens", ARRAY, array(STRING, *map(string, tokens))), *more)).data
    )
    command = [sys.executable, "-c", _COST_OF_A_VOCABULARY, str(path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    megabytes, n_ids, lists_were_made = json.loads(run.stdout)
    print(f"{megabytes:.1f} MB")
    assert 4 <= n_ids <= 20
    assert not lists_were_made
    assert megabytes < allowed


_PEAK = """
import sys
from pathlib import Path
from pyruntime.cli import main
assert main(["generate", sys.argv[1], "--max-tokens", "1"]) == 0
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "qwen2.5-coder", "gemma3-270m"])
def test_a_short_answer_takes_the_file_and_little_more(name: str, real_model: Callable[[str], Path]) -> None:
    path = real_model(name)
    command = [sys.executable, "-c", _PEAK, str(path)]
    prompt = "Write a short story about a small robot that learns to paint the sea in the morning light.\n"
    run = subprocess.run(command, input=prompt, check=True, capture_output=True, text=True)
    more = int(run.stderr.split()[-1]) * 1024 - path.stat().st_size
    print(f"{more / 1e6:.0f} MB beside the file")
    assert more < 120e6  # measured: 59, 64 and 109, of which 1 are keys and values
