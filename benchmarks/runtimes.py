"""The runtimes that are compared: pyruntime, the programs of llama.cpp and its forks, and llama-cpp-python.

Nothing here imports NumPy or pyruntime: a child's peak memory counts what its parent had when it was started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from works import Work

_WORKER = Path(__file__).resolve().parent / "worker.py"
_SYSTEM_INFO = """
import ctypes, sys
about = ctypes.CDLL(sys.argv[1]).llama_print_system_info
about.restype = ctypes.c_char_p
print(about().decode().strip())
"""


def instruction_sets(system_info: str) -> str:
    """Of `CPU : SSE3 = 1 | AVX512 = 0 | ...`, the line that llama.cpp prints of itself, what is there."""
    flags = (flag.split(":")[-1].partition("=") for flag in system_info.split("|"))
    return " ".join(name.strip() for name, _, value in flags if value.strip() not in ("", "0"))


def reason(said: str) -> str:
    """The line of a program's last words that tells why: what a debugger says of the stack may follow it."""
    lines = said.strip().splitlines() or ["it says nothing"]
    return next((line for line in reversed(lines) if "assert" in line.lower()), lines[-1])


class PeerError(RuntimeError):
    """A peer's program failed, perhaps with this setting alone. The last line is the reason."""


@dataclass(frozen=True, slots=True)
class Start:
    """seconds: from the start of the process to its first byte. bytes: its peak resident set, pages of a mapped file among
    them."""

    seconds: float
    bytes: int


def cold_start(command: list[str], stdin: str, cwd: str | None = None, env: dict[str, str] | None = None) -> Start:
    """A process, its prompt and answer in pipes. The peak is what getrusage tells of this child, as /usr/bin/time has it."""
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        os.read(process.stdout.fileno(), 1)
        seconds = time.perf_counter() - started
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode != 0:
            errors.seek(0)
            said = errors.read()[-2000:].decode(errors="replace")
            raise PeerError(f"{' '.join(command)}: exit {process.returncode}\n{said}")
    return Start(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


class Worker:
    """worker.py with a runtime loaded; its methods are called by name."""

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, *arguments: object) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([name, arguments]) + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended with {self._process.wait()}: its error is above")
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate()


class Pyruntime:
    name = "pyruntime"
    settings: tuple[str, ...] = ("",)

    def __init__(self, path: str, threads: int, context: int) -> None:
        self.path, self.threads = path, threads
        self.worker = Worker("pyruntime", path, threads, context)
        self.about: str = self.worker.call("about")

    def seconds(self, work: Work, setting: str = "") -> float:
        return float(self.worker.call("run", asdict(work)))

    def can(self, work: Work) -> bool:
        return True

    def start(self, prompt: str) -> Start:
        command = [sys.executable, "-P", "-m", "pyruntime", "generate", self.path, "--max-tokens", "1"]
        # Bytecode is kept, as an installed package has it: to compile the modules each time would take 0.25 s.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return cold_start([*command, "--threads", str(self.threads)], prompt, env=environment)

    def close(self) -> None:
        self.worker.close()


class Programs:
    """`llama-bench` of llama.cpp or ik_llama.cpp, and what lies beside it: `llama-batched-bench` for several sequences,
    `llama-completion` or `llama-cli` for a cold start.

    They are called anew each turn. Of each call the second run counts, as for pyruntime: their own warm-up is all of a prompt in
    one and a token in the other, so it is switched off. What reads 2,048 tokens or more warms up by itself, and is run once.
    """

    def __init__(self, name: str, folder: Path, path: str, threads: int) -> None:
        self.name, self.folder, self.path, self.threads = name, folder, path, threads
        self._environment = os.environ | {"LD_LIBRARY_PATH": str(folder), "GGML_NO_BACKTRACE": "1"}
        help = self._run("llama-bench", ["--help"])
        self._is_ik = "-rtr," in help
        repacking = (" -rtr 0", " -rtr 1") if self._is_ik else ("",)
        self.settings = tuple(f"-fa {fa}{repack}" for fa in (0, 1) for repack in repacking)
        self.start_settings = ("",) if self._is_ik else ("", "--no-repack")  # repacking takes time; the fork's is off
        self._starter = next((n for n in ("llama-completion", "llama-cli") if (folder / n).exists()), None)
        self.about = f"{name}, {threads} threads: {self._flags()}"

    def seconds(self, work: Work, setting: str) -> float:
        if work.sequences > 1:
            return self._seconds_together(work, setting)
        if work.read:
            what = ["-p", str(work.read), "-n", "0"]
        elif self._is_ik:
            what = ["-p", "0", "-n", "0", "-gp", f"{work.depth},{work.write}"]
        else:
            what = ["-p", "0", "-n", str(work.write), "-d", str(work.depth)]
        what += ["-r", "1" if work.is_long else "2", *(["-w", "0"] if self._is_ik else ["--no-warmup"])]
        answer = self._run("llama-bench", [*self._common(setting), *what, "-o", "json"])
        (found,) = json.loads(answer[answer.index("[") :])
        if found["n_threads"] not in (self.threads, str(self.threads)):
            raise RuntimeError(f"{self.name} used {found['n_threads']} threads, not {self.threads}")
        return float(found["samples_ns"][-1]) / 1e9

    def _seconds_together(self, work: Work, setting: str) -> float:
        """Its table: PP, TG, B, N_KV, T_PP s, S_PP t/s, T_TG s, ..., a row for each number of sequences, the same one twice."""
        context = work.sequences * max(256, work.context)
        what = ["-c", str(context), "-tb", str(self.threads), "-npp", str(work.depth), "-ntg", str(work.write)]
        what += ["-npl", f"{work.sequences},{work.sequences}"]
        setting = setting.replace("-rtr 0", "").replace("-rtr 1", "-rtr")  # a flag without a value there
        answer = self._run("llama-batched-bench", [*self._common(setting), *what])
        rows = [line.strip("|").split("|") for line in answer.splitlines() if line.startswith("|")]
        return float(rows[-1][6])

    def can(self, work: Work) -> bool:
        return work.sequences == 1 or (self.folder / "llama-batched-bench").exists()

    def start(self, prompt: str, context: int, setting: str) -> Start:
        """Of the program that answers once, without the empty run that it warms up with."""
        assert self._starter is not None
        command = [
            str(self.folder / self._starter),
            *self._common(setting),
            "-p",
            prompt,
            "-n",
            "1",
            "-c",
            str(context),
        ]
        command += ["--no-display-prompt", "--no-warmup", *([] if self._is_ik else ["-no-cnv"])]
        with tempfile.TemporaryDirectory() as empty:
            return cold_start(command, "", cwd=empty, env=self._environment)

    @property
    def can_start(self) -> bool:
        return self._starter is not None

    def close(self) -> None:
        """Nothing stays between turns."""

    def _common(self, setting: str) -> list[str]:
        return ["-m", self.path, "-t", str(self.threads), *setting.split()]

    def _run(self, program: str, arguments: list[str]) -> str:
        """Both streams: the fork writes its table to stderr. In a folder of its own, as it leaves logs where it runs."""
        command = [str(self.folder / program), *arguments]
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(
                command,
                cwd=empty,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if program != "llama-bench" else subprocess.PIPE,
                text=True,
            )
        if done.returncode != 0:
            said = done.stderr or done.stdout
            raise PeerError(f"{' '.join(command)}: exit {done.returncode}\n{said[-2000:]}\n{reason(said)}")
        return done.stdout

    def _flags(self) -> str:
        """The instruction sets that it was built for, as its library tells them."""
        library = next((p for p in sorted(self.folder.glob("libllama.*")) if p.suffix in (".so", ".dylib")), None)
        if library is None:
            return f"no libllama beside {self.folder / 'llama-bench'} to ask for its instruction sets"
        command = [sys.executable, "-c", _SYSTEM_INFO, str(library)]
        done = subprocess.run(command, env=self._environment, check=True, capture_output=True, text=True)
        return instruction_sets(done.stdout) or "it tells no instruction sets: it picks them as it starts"


class Bindings:
    """llama-cpp-python, loaded once for each setting."""

    settings = ("flash attention 0", "flash attention 1")

    def __init__(self, name: str, package: Path, path: str, threads: int, context: int) -> None:
        self.name = name
        self._workers = {s: Worker("bindings", path, threads, context, package, s[-1]) for s in self.settings}
        version, flags = self._workers[self.settings[0]].call("about")
        self.about = f"{name}: {version}, {threads} threads: {instruction_sets(flags)}"

    def seconds(self, work: Work, setting: str) -> float:
        return float(self._workers[setting].call("run", asdict(work)))

    def can(self, work: Work) -> bool:
        return work.sequences == 1

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()


Peer = Programs | Bindings


def open_peer(name: str, given: Path, path: str, threads: int, context: int) -> Peer:
    """given: `llama-bench` or its folder; or the folder `llama_cpp/lib` of llama-cpp-python, or `llama_cpp`."""
    folder = given.resolve() if given.is_dir() else given.resolve().parent
    if (folder / "llama-bench").exists():
        return Programs(name, folder, path, threads)
    for package in (folder, folder.parent):
        if (package / "llama_cpp.py").exists():
            return Bindings(name, package, path, threads, context)
    raise FileNotFoundError(f"{given}: neither llama-bench nor the package of llama-cpp-python is there")
