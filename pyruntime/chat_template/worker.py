"""What runs in the process that apart.py starts: a request in, a reply out, both JSON."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyruntime.chat_template.engine import Engine
from pyruntime.chat_template.limits import MEMORY, TOO_LARGE, alone
from pyruntime.chat_template.source import to_minijinja
from pyruntime.chat_template.values import plain
from pyruntime.errors import TemplateError

_SECONDS = 0.75  # of the clock: with its start, and what was tried before (limits.py), it is one
_CPU_SECONDS = 2  # for what it does beside, too


def main() -> None:
    request = json.load(sys.stdin.buffer)
    try:
        reply = {"text": _text(request)}
    except TemplateError as error:
        reply = {"error": str(error)}
    except MemoryError:
        reply = {"error": TOO_LARGE}
    sys.stdout.buffer.write(json.dumps(reply, ensure_ascii=False).encode(errors="surrogatepass"))
    sys.stdout.buffer.flush()
    os._exit(0)  # there is nothing to put in order


def _text(request: Any) -> str:
    engine = Engine(to_minijinja(request["source"]).text, request["constants"], alone, _Limited().limited)
    if request["context"] is None:
        return ""
    context = {name: plain(value, name) for name, value in request["context"].items()}
    return engine.text(context, request["special"], request["mark"])


class _Limited:
    """Ends this process, or refuses it memory, while minijinja takes too much."""

    def __init__(self) -> None:
        self._seconds = _SECONDS
        ending = (signal.SIGALRM, signal.SIGXCPU)
        for number in ending:
            signal.signal(number, signal.SIG_DFL)  # no handler: minijinja would not let Python run one
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + _CPU_SECONDS)
        _lower(resource.RLIMIT_CORE, 1)  # with 0, a program that collects them would still be given one

    @contextmanager
    def limited(self) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_AS)
        if sys.platform == "linux":  # macOS keeps no such limit: there fuel alone bounds memory
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[0])
            _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        try:
            yield
        finally:
            self._seconds, _ = signal.setitimer(signal.ITIMER_REAL, 0)
            resource.setrlimit(resource.RLIMIT_AS, before)


def _lower(limit: int, value: int) -> None:
    """The soft limit, which this process may not lift above the hard one."""
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
