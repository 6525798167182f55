"""`bench`: what is measured and how it is told, with a tiny model; and that a real one's figures are those that users see."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
from cli_tools import TIMEOUT, Done, assert_one_line_error

import pyruntime
from pyruntime import Model, bench, hardware
from pyruntime.bench import Benchmark, Timing
from pyruntime.cli import main
from pyruntime.errors import ContextError
from pyruntime.hardware import Hardware
from pyruntime.profiling import Operation, Part, Profile

NUMBER = (int, float)
TIMING: dict[str, Any] = {"tokens": int, "tokens_per_second": NUMBER, "spread": NUMBER, "seconds": [NUMBER]}
SCHEMA: dict[str, Any] = {
    "model": str,
    "file": str,
    "architecture": str,
    "size": int,
    "parameters": int,
    "context": int,
    "threads": int,
    "isa": str,
    "kv_type": str,
    "version": str,
    "prefill": TIMING | {"tera_ops_per_second": NUMBER, "share_of_peak": NUMBER},
    "generate": TIMING | {"gigabytes_per_second": NUMBER, "share_of_bandwidth": (*NUMBER, type(None))},
    "load": {"seconds": NUMBER},
    "hardware": {"memory_bandwidth": NUMBER, "int8_peak": NUMBER},
}
OPERATION: dict[str, Any] = {"name": str, "weights": str, "steps": int, "seconds": NUMBER, "waiting_seconds": NUMBER}
OPTIONAL = (*NUMBER, type(None))
PART: dict[str, Any] = {
    "tokens": int,
    "seconds": NUMBER,
    "waiting_seconds": NUMBER,
    "starting_seconds": NUMBER,
    "sampling_seconds": NUMBER,
    "python_seconds": NUMBER,
}
PROFILE: dict[str, Any] = {
    "prefill": PART | {"operations": [OPERATION | {"tera_ops_per_second": OPTIONAL, "share_of_peak": OPTIONAL}]},
    "generate": PART | {"operations": [OPERATION | {"gigabytes_per_second": OPTIONAL, "share_of_bandwidth": OPTIONAL}]},
}
FEW = ("--prefill", "20", "--generate", "3", "--repetitions", "2")
EXAMPLE = Benchmark(
    architecture="llama",
    file_bytes=10**9,
    parameters=2 * 10**9,
    context=1024,
    threads=2,
    isa="avx2",
    kv_type="f16",
    version="1.0",
    prefill=Timing(100, (1.0, 2.0, 1.5)),
    generate=Timing(10, (4.0, 4.0, 5.0)),
    prefill_operations=3 * 10**11,
    generate_bytes=8 * 10**10,
    hardware=Hardware(memory_bandwidth=4e10, int8_peak=4e11),
    cache_bytes=10**9,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "tiny.gguf", "Q8_0")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A machine that gives more the second time; the calls that asked it."""
    calls: list[tuple[Any, ...]] = []

    def measure(*args: Any) -> Hardware:
        calls.append(args)
        return Hardware(memory_bandwidth=1e10 * len(calls), int8_peak=1e12)

    monkeypatch.setattr(hardware, "measure", measure)
    return calls


@pytest.fixture
def command(machine: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*argv: str) -> Done:
        return Done(main(["bench", *argv]), *capsys.readouterr())

    return run


def fits(value: Any, schema: Any) -> bool:
    """Whether the value has the schema's keys, all of them and no other, with values of its types."""
    if isinstance(schema, dict):
        return value.keys() == schema.keys() and all(fits(value[key], schema[key]) for key in schema)
    if isinstance(schema, list):
        return isinstance(value, list) and all(fits(element, schema[0]) for element in value)
    return isinstance(value, schema) and not isinstance(value, bool)


def test_medians_spreads_and_shares() -> None:
    assert EXAMPLE.prefill.tokens_per_second == pytest.approx(100 / 1.5)
    assert EXAMPLE.prefill.spread == pytest.approx(1 / 1.5)
    assert EXAMPLE.generate.tokens_per_second == pytest.approx(2.5)
    assert EXAMPLE.generate.spread == pytest.approx(0.25)
    assert EXAMPLE.tera_ops_per_second == pytest.approx(0.2)
    assert EXAMPLE.share_of_peak == pytest.approx(0.5)
    assert EXAMPLE.gigabytes_per_second == pytest.approx(20)
    assert EXAMPLE.share_of_bandwidth == pytest.approx(0.5)


def test_no_share_of_the_bandwidth_where_the_caches_hold_the_model() -> None:
    """8 GB a token: half of that in caches would make memory look faster than it is."""
    assert replace(EXAMPLE, cache_bytes=4 * 10**9).share_of_bandwidth is not None
    assert replace(EXAMPLE, cache_bytes=4 * 10**9 + 1).share_of_bandwidth is None


def test_what_is_run(path: Path, machine: list[tuple[Any, ...]]) -> None:
    """The prompt and each token as often as asked for, and once before; nothing else, and nothing is left."""
    told: list[tuple[int, int]] = []
    with Model(path, threads=2, kv_type="q8_0") as model:
        found = bench.measure(model, prefill=600, generate=5, repetitions=3, progress=lambda *at: told.append(at))
        counters, isa = model.engine.counters(), model.isa
    assert (counters["steps"], counters["tokens"]) == (4 * (2 + 5), 4 * 605)  # 600 are read 512 at a time
    assert counters["pages"] == 0
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (found.prefill.tokens, len(found.prefill.seconds)) == (600, 3)
    assert (found.generate.tokens, len(found.generate.seconds)) == (5, 3)
    assert all(0 < seconds < 60 for seconds in found.prefill.seconds + found.generate.seconds)
    assert (found.threads, found.isa, found.kv_type, found.context) == (2, isa, "q8_0", 1024)
    assert found.file_bytes == path.stat().st_size
    assert found.profile is None


def test_a_profile_is_taken_after_what_counts(path: Path, machine: list[tuple[Any, ...]]) -> None:
    """As often, and its last token is drawn, so that the context must hold one more."""
    told: list[tuple[int, int]] = []
    with Model(path, threads=2, context=51) as model:
        found = bench.measure(
            model, prefill=40, generate=10, repetitions=2, profile=True, progress=lambda *at: told.append(at)
        )
        assert model.engine.counters()["steps"] == (3 + 2) * (1 + 10)
        with pytest.raises(ContextError, match="load the model with one of 52"):
            bench.measure(model, prefill=40, generate=11, profile=True)
    assert told == [(i, 5) for i in range(1, 6)]
    assert len(found.prefill.seconds) == 2
    assert found.profile is not None
    assert (found.profile.prefill.tokens, found.profile.generate.tokens) == (40, 10)


def test_the_machine_is_measured_before_and_after_as_the_model_uses_it(
    path: Path, machine: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRUNTIME_ISA", "scalar")
    with Model(path, threads=1, ram=1 << 30) as model:
        found = bench.measure(model, prefill=4, generate=1, repetitions=1)
    assert [call[:2] for call in machine] == [(1, "scalar")] * 2
    assert all(0 < free < 1 << 30 for _, _, free in machine)
    assert found.hardware == Hardware(memory_bandwidth=2e10, int8_peak=1e12)


def test_the_prompt_is_always_the_same_and_of_many_tokens() -> None:
    ids = bench.prompt(50_000, 512)
    assert ids[:4].tolist() == bench.prompt(50_000, 4).tolist() == [35761, 4226, 39987, 8452]
    assert len(set(ids.tolist())) > 500
    assert 0 <= ids.min() <= ids.max() < 50_000


@pytest.mark.parametrize("name", ["prefill", "generate", "repetitions"])
def test_numbers_below_one(name: str, path: Path) -> None:
    options: dict[str, Any] = {name: 0}
    with Model(path, threads=1) as model, pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        bench.measure(model, **options)


def test_a_context_that_is_too_short(path: Path) -> None:
    refusal = pytest.raises(ContextError, match="90 tokens to read and 11 to write do not fit the context of 100")
    with Model(path, threads=1, context=100) as model, refusal:
        bench.measure(model, prefill=90, generate=11)


def test_json(path: Path, command: Any) -> None:
    done = command(str(path), *FEW, "--threads", "1", "--context", "64", "--kv-type", "f32", "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert fits(report, SCHEMA), report
    settings = {
        key: report[key] for key in ("model", "file", "context", "threads", "kv_type", "version", "architecture")
    }
    assert settings == {
        "model": str(path),
        "file": str(path),
        "context": 64,
        "threads": 1,
        "kv_type": "f32",
        "version": pyruntime.__version__,
        "architecture": "llama",
    }
    assert report["size"] == path.stat().st_size
    for work, tokens in (("prefill", 20), ("generate", 3)):
        timing = report[work]
        assert (timing["tokens"], len(timing["seconds"])) == (tokens, 2)
        assert timing["tokens_per_second"] == pytest.approx(2 * tokens / sum(timing["seconds"]))
    reached = report["prefill"]["tera_ops_per_second"] * 1e12 / report["hardware"]["int8_peak"]
    assert report["prefill"]["share_of_peak"] == pytest.approx(reached)


def test_the_table(path: Path, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure", lambda *_, **__: EXAMPLE)
    done = command(str(path))
    about, settings, empty, *table = done.out.splitlines()
    assert about == f"{path}: llama, 2,000.0 M parameters, 1.00 GB"
    assert settings.startswith("avx2, 2 threads, keys and values in f16, context of 1024, loaded in ")
    assert empty == ""
    assert table == [
        "          tokens  tokens/s  spread  reached           of this machine's",
        "prefill      100      66.7     67%  0.200 Tera-ops/s  50% of 0.400 Tera-ops/s",
        "generate      10       2.5     25%  20.0 GB/s         50% of 40.0 GB/s",
    ]
    assert_one_line_error(Done(done.code, "", done.err), 0, "the repetitions differ by 67%")
    assert command(str(path), "--quiet").err == ""
    calm = replace(EXAMPLE, prefill=Timing(1, (1.0, 1.05)), generate=Timing(1, (1.0,)), cache_bytes=1 << 40)
    monkeypatch.setattr(bench, "measure", lambda *_, **__: calm)
    done = command(str(path))
    assert done.err == ""
    assert done.out.endswith("40.0 GB/s, but the caches hold much of the model\n")


def test_a_profile_as_json(path: Path, command: Any) -> None:
    """Half of the repetitions are profiled: those that are timed are not."""
    report = json.loads(command(str(path), *FEW, "--profile", "--json").out)
    assert fits(report, SCHEMA | {"profile": PROFILE}), report
    assert len(report["prefill"]["seconds"]) == 2
    profile = report["profile"]
    assert (profile["prefill"]["tokens"], profile["generate"]["tokens"]) == (20, 3)
    head = next(o for o in profile["prefill"]["operations"] if o["name"] == "head")
    assert head["share_of_peak"] == pytest.approx(head["tera_ops_per_second"])  # of 1 Tera-ops/s
    assert {o["share_of_bandwidth"] for o in profile["generate"]["operations"]} == {None}  # in the caches
    norm = next(o for o in profile["prefill"]["operations"] if o["name"] == "rms_norm")
    assert norm["tera_ops_per_second"] is None


def test_the_tables_of_a_profile(path: Path, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(tokens: int, seconds: float, work: int) -> Part:
        operations = [
            Operation("linear ffn_down", "Q4_K, Q6_K", 30, 0.5 * seconds, 0.05 * seconds, work),
            Operation("rope", "", 60, 0.2 * seconds, 0.1 * seconds),
        ]
        return Part(tokens, seconds, operations, 0.01 * seconds, 0.04 * seconds, 0.1 * seconds)

    profile = Profile(part(100, 1.0, 10**11), part(10, 4.0, 3 * 10**10))
    monkeypatch.setattr(bench, "measure", lambda *_, **__: replace(EXAMPLE, profile=profile))
    lines = command(str(path), "--quiet", "--profile").out.splitlines()
    assert lines[6:] == [
        "",
        "prefill              weights     steps        ms   share  waiting  Tera-ops/s  of the machine's",
        "linear ffn_down      Q4_K, Q6_K     30   500.000   50.0%   50.000       0.200               50%",
        "rope                                60   200.000   20.0%  100.000",
        "waiting at barriers                      150.000   15.0%",
        "starting threads                          10.000    1.0%",
        "sampling                                  40.000    4.0%",
        "Python                                   100.000   10.0%",
        "all                                     1000.000  100.0%",
        "",
        "a token              weights     steps       ms   share  waiting  GB/s  of the machine's",
        "linear ffn_down      Q4_K, Q6_K     30  200.000   50.0%   20.000  15.0               38%",
        "rope                                60   80.000   20.0%   40.000",
        "waiting at barriers                      60.000   15.0%",
        "starting threads                          4.000    1.0%",
        "sampling                                 16.000    4.0%",
        "Python                                   40.000   10.0%",
        "all                                     400.000  100.0%",
    ]


@pytest.mark.parametrize("context", [(), ("--context", "100")])
def test_a_prompt_longer_than_the_context(context: tuple[str, ...], path: Path, command: Any) -> None:
    """Of the model, or as asked for: the error says how to make room."""
    done = command(str(path), "--prefill", "2000", *context)
    assert done.out == ""
    assert_one_line_error(done, 2, "too short for the 2064 tokens of --prefill and --generate", "--context 2064")


def test_mistakes(path: Path, command: Any, tmp_path: Path) -> None:
    assert_one_line_error(command(str(tmp_path / "none.gguf")), 3, "none.gguf")
    assert_one_line_error(command(str(path), "--prefill", "0"), 2, "--prefill")
    assert_one_line_error(command(str(path), "--repetitions", "x"), 2, "--repetitions")
    assert_one_line_error(command(str(path), "--threads", "9999"), 2, "--threads")


def test_ctrl_c(path: Path) -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pyruntime.__main__ import main\n"
        "from pyruntime import bench\n"
        "print('ready', flush=True)\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "bench", str(path), "--repetitions", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.model
def test_a_real_model_within_what_the_machine_gives(model_path: Path) -> None:
    with Model(model_path) as model:
        found = bench.measure(model, prefill=128, generate=16, repetitions=3)
    assert found.parameters == 134_515_008
    assert found.generate_bytes / 16 == pytest.approx(97.5e6, rel=0.05)
    assert 0 < found.share_of_peak <= 1
    assert found.share_of_bandwidth is None or 0 < found.share_of_bandwidth <= 1.05
    assert found.prefill.tokens_per_second > found.generate.tokens_per_second


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.model
def test_users_see_the_same_speed(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`generate` draws each token in the core, and decodes it. In processor time of one thread, which others do not change.
    Without guesses, which can only make it faster."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    n = 32
    by_users, by_bench = [], []
    with Model(model_path, threads=1, speculation=False) as model:
        ids = bench.prompt(model.n_vocab, 64)
        never_ends = dict.fromkeys(model.tokenizer.end_ids, float("-inf"))
        for _ in range(5):
            timings = model.generate(ids.tolist(), max_tokens=n + 1, temperature=0, logit_bias=never_ends).timings
            assert timings["generate_tokens"] == n + 1  # the first is drawn as the prompt ends
            by_users.append(timings["generate_seconds"] / n)
            by_bench.append(bench._repetition(model, ids, n)[1] / n)
    print(f"{1e3 * min(by_users):.2f} and {1e3 * min(by_bench):.2f} ms a token")
    assert min(by_users) == pytest.approx(min(by_bench), rel=0.1)
