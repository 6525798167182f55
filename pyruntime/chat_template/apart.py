"""Templates in a process of their own: a Python that reads a conversation, limits itself, renders, and ends.

It may take a second and 64 MB. It has none of this process's files, memory and environment, writes no core, and
whatever becomes of it, this process goes on with a TemplateError. Starting it takes some 50 ms.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyruntime.chat_template.limits import TOO_LARGE, TOO_LONG
from pyruntime.errors import TemplateError

_SECONDS = 10  # for a Python to start on a busy machine; from then on it limits itself to one
_RUN = "import sys; sys.path += sys.argv[1:]; from pyruntime.chat_template.worker import main; main()"
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")  # some Pythons start by the first two; dates need TZ


def text(source: str, constants: Mapping[str, str], context: Any, special: Sequence[str], mark: str) -> str:
    """What Engine.text gives. TemplateError if the template takes too much, or if no process can be started."""
    request = {"source": source, "constants": constants, "context": context, "special": special, "mark": mark}
    return _reply(request)


def check(source: str, constants: Mapping[str, str]) -> None:
    """TemplateError if the template does not compile."""
    _reply({"source": source, "constants": constants, "context": None})


def _reply(request: dict[str, Any]) -> str:
    output, code = _run(json.dumps(request, ensure_ascii=False).encode(errors="surrogatepass"))
    try:
        reply = json.loads(output)
    except ValueError:
        raise TemplateError(_end(code)) from None
    if "error" in reply:
        raise TemplateError(reply["error"])
    return str(reply["text"])


def _run(request: bytes) -> tuple[bytes, int]:
    """What the process wrote, and its exit code."""
    command = [_python(), "-I", "-S", "-c", _RUN, *_import_folders()]
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is this process's to hear
        )
    except OSError as error:
        raise TemplateError(
            f"chat template: it needs a process of its own, and {command[0]}: {error.strerror}"
        ) from None
    try:
        output, _ = process.communicate(request, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise TemplateError(f"chat template: the process for it did not answer for {_SECONDS} s") from None
    finally:
        process.kill()
        process.communicate()
    return output, process.returncode


def _end(code: int) -> str:
    """Why there is no reply."""
    if code in (-signal.SIGALRM, -signal.SIGXCPU):
        return TOO_LONG
    if code == -signal.SIGABRT:  # how Rust ends where memory does
        return TOO_LARGE
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"chat template: the process for it ended without an answer ({how})"


def _python() -> str:
    """This Python, if it is one; a program that embeds Python or is frozen may name one for multiprocessing."""
    path = sys.executable
    if getattr(sys, "frozen", False) or not _looks_like_python(path):
        from multiprocessing import spawn

        path = os.fsdecode(spawn.get_executable() or "")
        if path == (sys.executable or "") or not _looks_like_python(path):
            raise TemplateError(
                f"chat template: it needs a Python process of its own, and sys.executable is {sys.executable!r:.200}; "
                "name a Python by multiprocessing.set_executable"
            )
    return path


def _looks_like_python(path: str | None) -> bool:
    return re.match(r"(?:python|pypy)[\d.]*t?d?(?:\.exe)?$", Path(path or "").name, re.IGNORECASE) is not None


def _import_folders() -> list[str]:
    """Where pyruntime and minijinja were imported from; a Python started with -I -S knows the standard library alone."""
    import minijinja

    return [str(Path(__file__).parents[2]), str(Path(minijinja.__file__).parents[1])]
