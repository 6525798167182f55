"""benchmarks/compare.py with programs that only pretend to measure: what they are asked, and what is made of their answers."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny_gguf

_BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

# Notes its arguments beside it. The first run takes 9 s, the second 2 s, or with -fa 1 one second.
_LLAMA_BENCH = """#!{python}
import json, sys
from pathlib import Path

arguments = sys.argv[1:]
if "--help" in arguments:
    print("{help}")
    sys.exit()
with Path(__file__).with_suffix(".calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
seconds = 1 if arguments[arguments.index("-fa") + 1] == "1" else 2
print("loading")
print(json.dumps([dict(n_threads={threads}, samples_ns=[9_000_000_000, seconds * 1_000_000_000])]))
"""

# Fails with flash attention; else its second row says two seconds for eight times 32 tokens.
_LLAMA_BATCHED_BENCH = """#!{python}
import sys
arguments = " ".join(sys.argv)
assert "-t 1 " in arguments and "-tb 1 -npp 16 -ntg 32 -npl 8,8" in arguments, arguments
if "-fa 1" in arguments:
    sys.exit("GGML_ASSERT(S > 0) failed\\n#0 main ()\\n[Inferior 1 detached]")
print("|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |", file=sys.stderr)
for seconds in 9, 2:
    print(f"|    16 |     32 |    8 |    384 |    0.1 |    1280 |  {{seconds}} |  28 |    9 |   30 |", file=sys.stderr)
"""

_LLAMA_CLI = """#!{python}
import sys
assert sys.argv[sys.argv.index("-p") + 1].count("<|start|>") == 2, sys.argv
sys.stdout.write("x")
"""


def program(path: Path, text: str, **fields: object) -> None:
    path.write_text(text.format(python=sys.executable, **fields))
    path.chmod(0o755)


def peer(folder: Path, *, is_ik: bool, threads: int = 1) -> Path:
    folder.mkdir()
    help = "  -rtr, --run-time-repack <0|1>" if is_ik else "  -d, --n-depth <n>"
    program(folder / "llama-bench", _LLAMA_BENCH, help=help, threads=threads)
    return folder


def calls(folder: Path) -> list[str]:
    return [" ".join(json.loads(line)) for line in (folder / "llama-bench.calls").read_text().splitlines()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These runs measure nothing, and may run beside one that does."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def compare(model: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, _BENCHMARKS / "compare.py", model, "--threads", 1, "--repetitions", 3, *arguments]
    environment = dict(os.environ)
    environment.pop("PYTHONSAFEPATH", None)  # the script imports its neighbours
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def test_peers_are_asked_for_the_same_work_with_their_best_setting(model: Path, tmp_path: Path) -> None:
    llama, ik = peer(tmp_path / "llama", is_ik=False), peer(tmp_path / "ik", is_ik=True)
    report = tmp_path / "report.json"
    done = compare(model, "--peer", f"llama.cpp={llama}", "--peer", f"ik={ik}/llama-bench", "--json", report)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(report.read_text())

    common = f"-m {model} -t 1"
    prefill, generate = calls(llama)[:5], calls(llama)[5:]
    once = "-r 2 --no-warmup -o json"
    assert prefill == [f"{common} -fa {fa} -p 512 -n 0 {once}" for fa in (0, 1, 1, 1, 1)]
    assert generate == [f"{common} -fa {fa} -p 0 -n 64 -d 16 {once}" for fa in (0, 1, 1, 1, 1)]
    settings = ["-fa 0 -rtr 0", "-fa 0 -rtr 1", "-fa 1 -rtr 0", "-fa 1 -rtr 1", *["-fa 1 -rtr 0"] * 3]
    assert calls(ik)[7:] == [f"{common} {s} -p 0 -n 0 -gp 16,64 -r 2 -w 0 -o json" for s in settings]

    figures = found["generate 64 at 16"]["runtimes"]
    assert figures["llama.cpp"]["seconds"] == [1, 1, 1]  # the second run of each call
    assert figures["llama.cpp"]["tokens_per_second"] == 64
    assert figures["llama.cpp"]["ratio"] == sorted(1 / s for s in figures["pyruntime"]["seconds"])[1]
    assert 0 < found["prefill 512"]["runtimes"]["pyruntime"]["share_of_peak"] <= 1
    assert "| prefill 512       | ik " in done.stdout


def test_a_peer_with_other_threads_is_refused(model: Path, tmp_path: Path) -> None:
    folder = peer(tmp_path / "llama", is_ik=False, threads=4)
    done = compare(model, "--peer", f"llama.cpp={folder}", "--works", "prefill")
    assert done.returncode != 0
    assert "llama.cpp used 4 threads, not 1" in done.stderr


def test_a_setting_that_a_peer_fails_with_is_told_and_another_one_taken(model: Path, tmp_path: Path) -> None:
    folder = peer(tmp_path / "llama", is_ik=False)
    program(folder / "llama-batched-bench", _LLAMA_BATCHED_BENCH)
    done = compare(model, "--peer", f"llama.cpp={folder}", "--works", "batch")
    assert done.returncode == 0, done.stderr
    assert "llama.cpp fails with -fa 1: GGML_ASSERT(S > 0) failed" in done.stdout
    assert "| generate 32 at 16, 8 together | llama.cpp | 128.0 tokens/s" in done.stdout


def test_start_gives_every_program_the_same_prompt(model: Path, tmp_path: Path) -> None:
    folder = peer(tmp_path / "ik", is_ik=True)
    program(folder / "llama-cli", _LLAMA_CLI)
    report = tmp_path / "report.json"
    done = compare(model, "--peer", f"ik={folder}", "--works", "batch,start", "--json", report)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(report.read_text())
    assert found["start"]["prompt_tokens"] >= 30
    for figures in found["start"]["runtimes"].values():
        assert len(figures["seconds"]) == 3
        assert 1e6 < figures["peak_bytes"] < 1e9
    together = found["generate 32 at 16, 8 together"]
    assert list(together["runtimes"]) == ["pyruntime"]
    assert together["unable"] == ["ik"]


def test_the_tables_and_the_picture(model: Path, tmp_path: Path) -> None:
    llama = peer(tmp_path / "llama", is_ik=False)
    files = [tmp_path / name for name in ("report.json", "report.md", "report.svg", "again.svg")]
    done = compare(
        model, "--peer", f"llama<&.cpp={llama}", "--json", files[0], "--markdown", files[1], "--plot", files[2]
    )
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2 * 2
    written = files[1].read_text().splitlines()
    assert written[0] == "## tiny.gguf"
    assert written[2].startswith("- pyruntime ")
    assert [line for line in written if line.startswith("|")] == table

    picture = ElementTree.parse(files[2])
    bars = picture.findall("{*}rect")[1:]
    (found,) = json.loads(files[0].read_text())
    shares = [figures["share_of_peak"] for figures in found["prefill 512"]["runtimes"].values()]
    assert [float(bar.get("width", "")) for bar in bars[:2]] == pytest.approx([420 * s for s in shares], abs=0.06)
    assert max(float(bar.get("width", "")) for bar in bars[2:]) == 420  # in the caches: the fastest
    texts = [text.text for text in picture.findall("{*}text")]
    assert {"tiny: prefill 512", "tiny: generate 64 at 16", "llama<&.cpp", "64.0 tokens/s"} <= set(texts)
    assert len(picture.findall("{*}line")) == 1  # the limit of the prompt
    plot = [sys.executable, _BENCHMARKS / "plot.py", files[0], files[3]]
    subprocess.run(list(map(str, plot)), check=True)
    assert files[3].read_text() == files[2].read_text()


def test_of_two_runs_at_once_the_second_one_refuses(model: Path, tmp_path: Path) -> None:
    with (tmp_path / "pyruntime-compare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = compare(model, "--works", "prefill")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "another run of it measures on this machine" in done.stderr
    assert compare(model, "--works", "prefill").returncode == 0


@pytest.mark.parametrize(
    ("line", "sets"),
    [
        ("CPU : SSE3 = 1 | AVX = 1 | AVX512 = 0 | LLAMAFILE = 1 | REPACK = 1 | \n", "SSE3 AVX LLAMAFILE REPACK"),
        ("AVX = 1 | AVX_VNNI = 0 | AVX2 = 1 | NEON = 0 | MATMUL_INT8 = 0 | ", "AVX AVX2"),
        ("CPU : NEON = 1 | ARM_FMA = 1 | SVE_CNT = 16 | DOTPROD = 1", "NEON ARM_FMA SVE_CNT DOTPROD"),
        ("", ""),
    ],
)
def test_what_a_peer_was_built_for(line: str, sets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(_BENCHMARKS)
    runtimes = importlib.import_module("runtimes")
    assert runtimes.instruction_sets(line) == sets


def test_a_folder_without_a_peer_is_told(model: Path, tmp_path: Path) -> None:
    done = compare(model, "--peer", f"llama.cpp={tmp_path}")
    assert f"{tmp_path}: neither llama-bench nor the package of llama-cpp-python is there" in done.stderr
