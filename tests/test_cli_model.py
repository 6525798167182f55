"""The command line with the default model, as a user runs it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_tools import TIMEOUT, Terminal

from pyruntime.errors import ContextError, MemoryLimitError

pytestmark = pytest.mark.model


def run_installed(*argv: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pyruntime", *argv]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT, encoding="utf-8")


def test_generate_with_the_default_model(model_path: Path) -> None:
    argv = ["generate", str(model_path), "What is gravity?", "--temperature", "0", "--max-tokens", "24"]
    plain, as_json = run_installed(*argv), run_installed(*argv, "--json")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout.startswith("Gravity is a ")
    report = json.loads(as_json.stdout)
    assert set(report) == {"model", "text", "ids", "finish_reason", "prompt_tokens", "seed", "timings"}
    assert plain.stdout == report["text"] + "\n"
    assert 0 < len(report["ids"]) <= 24
    assert report["finish_reason"] in {"stop", "length"}
    assert report["timings"]["prefill_tokens"] == report["prompt_tokens"]


def test_chat_with_the_default_model(model_path: Path) -> None:
    turns = "Hi!\nWhat is the capital of France?\n"
    done = run_installed("chat", str(model_path), "--temperature", "0", "--max-tokens", "32", stdin=turns)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Hello! How can I assist you today?\nThe capital of France is Paris.\n"


def test_chat_longer_than_the_context(model_path: Path) -> None:
    """The oldest turn is left out, and the next one answered as if it were the first; or it is an error."""
    turns = "Tell me a long story.\nSay yes.\n/exit\n"
    options = ("--context", "96", "--temperature", "0")
    done = run_installed("chat", str(model_path), *options, stdin=turns)
    assert done.returncode == 0
    full, dropped = done.stderr.splitlines()[:2]
    assert "the context of 96 tokens is full: the answer is cut off" in full
    assert dropped == "pyruntime: the context of 96 tokens is full: the oldest messages (2) are left out"
    alone = run_installed("chat", str(model_path), *options, stdin="Say yes.\n").stdout
    assert done.stdout.endswith(f"\n{alone}")
    done = run_installed("chat", str(model_path), *options, "--overflow", "error", stdin=turns)
    assert done.returncode == ContextError.exit_code
    full, refused = done.stderr.splitlines()
    assert "the context of 96 tokens is full" in full
    assert refused.startswith("pyruntime: ")


def test_ctrl_c_is_answered_at_once(model_path: Path, tmp_path: Path) -> None:
    script = tmp_path / "cli.py"
    tests = str(Path(__file__).parent)
    script.write_text(
        f"import sys; sys.path.append({tests!r}); import fake_model; from pyruntime.cli import main\n"
        "fake_model.take_terminal(); sys.exit(main())"
    )
    seconds = []
    with Terminal("chat", str(model_path), "--temperature", "0", script=str(script)) as terminal:
        terminal.expect("\r\n> ")
        for _ in range(4):
            terminal.type("Tell me a very long story of a dragon.\n")
            terminal.expect(" the ")
            before = time.monotonic()
            terminal.type("\x03")
            terminal.expect("\r\n> ")
            seconds.append(time.monotonic() - before)
        terminal.type("/exit\n")
        assert terminal.exit_code() == 0
    assert min(seconds) < 0.1  # the best, since the machine may be busy


def test_ram_is_a_limit(model_path: Path) -> None:
    argv = ["generate", str(model_path), "Say yes.", "--temperature", "0", "--max-tokens", "2"]
    tight = run_installed(*argv, "--ram", "150M")
    assert tight.returncode == MemoryLimitError.exit_code
    assert tight.stdout == ""
    assert tight.stderr.endswith("and ram allows 157 MB; the model does not fit\n")
    assert run_installed(*argv, "--ram", "250M").stdout == run_installed(*argv).stdout
