"""What a template costs the process that renders it, and the process that is started where that would be too much."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import template_attacks
from test_chat_template import TALK, TEMPLATES, TOOLS, message
from test_chat_template_families import FAMILIES

from pyruntime.chat_template import ChatTemplate, apart
from pyruntime.chat_template.conversation import variables
from pyruntime.chat_template.engine import Engine
from pyruntime.chat_template.limits import beside
from pyruntime.chat_template.source import to_minijinja
from pyruntime.errors import TemplateError

HEAVY = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"
BOS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(request: bytes) -> Any:
        raise AssertionError("a process was started")

    monkeypatch.setattr(apart, "_run", started)


# --- Ordinary ones stay in this process ------------------------------------------------------


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_conversations_start_no_process(family: str) -> None:
    template = ChatTemplate(FAMILIES[family], **BOS)
    for n in (1, 1001, 3001):
        talk = [message("word " * 40, role) for role in ("user", "assistant") * (n // 2 + 1)][:n]
        assert template.render(talk).count("word") == 40 * n
    document = "word " * 800_000  # 4 MB
    assert document.strip() in template.render([message(document)])


@pytest.mark.usefixtures("no_process")
def test_tools_start_no_process() -> None:
    tool = {"type": "function", "function": {**TOOLS[0]["function"], "description": "d" * 500}}
    for family in ("llama_3_1", "qwen_3", "gpt_oss", "mistral_v3"):
        assert "d" * 500 in ChatTemplate(FAMILIES[family], **BOS).render(TALK[1:2], tools=[tool] * 50)


# --- The others get the same, apart ----------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_apart_is_the_same_text(name: str) -> None:
    source = TEMPLATES[name]
    here = Engine(to_minijinja(source).text, BOS, beside)
    context = variables(TALK[1:], TOOLS, True, {"enable_thinking": False})
    special = ["<|im_start|>", "</think>", "<b>"]
    assert apart.text(source, BOS, context, special, "\ufdd0") == here.text(context, special, "\ufdd0")


@pytest.mark.parametrize(
    "body",
    [
        "{{ raise_exception('no\n way') }}",
        "{{ a.b }}",
        "{{ 1 ~ }}",
        "{{ 1 | nofilter }}",
        "{{ [1] * 3 }}",
        "{{ 1 + 'a' }}",
    ],
)
def test_apart_is_the_same_error(body: str) -> None:
    """A template that is not plain, since it has a power, and one that is."""
    ends = []
    for prefix in ("{% if 1 - 1 %}{% endif %}", "{% if 1 ** 1 %}{% endif %}"):
        with pytest.raises(TemplateError) as error:
            ChatTemplate(prefix + body).render([message("a")])
        ends.append(str(error.value))
    assert ends[0] == ends[1]


def test_what_is_too_much_here_is_tried_apart() -> None:
    counted = "{% for i in range(40000) %}{% if i % 2 == 0 %}{% endif %}{% endfor %}{{ messages[0].content }}"
    assert ChatTemplate(counted).render([message("é😀\u2028")]) == "é😀\u2028"


def test_a_system_message_is_folded_apart_as_well() -> None:
    refuses = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    talk = [message("s", "system"), message("u")]
    assert ChatTemplate(refuses + "{{ 2 ** 3 }}").render(talk) == "s\n\nu8"


# --- What harm costs -------------------------------------------------------------------------

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a moment's peak of memory is")


def measured(*argv: str) -> None:
    """Each attack: at most a second of this process's time, half of it measured, and 64 MB, 31 of them measured."""
    run = subprocess.run([sys.executable, template_attacks.__file__, *argv], check=True, capture_output=True, text=True)
    *attacks, children = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(attacks) >= 25
    assert [a for a in attacks if a["seconds"] > 1 or a["bytes"] > 64 << 20] == []
    # A Python of 15 MB, the conversation several times over, and what the template took.
    assert children["apart"] < 160 << 20


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("kind", template_attacks.CONVERSATIONS)
def test_attacks(kind: str) -> None:
    measured(kind)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_invented_attacks(seed: int) -> None:
    measured(("short", "many", "long")[seed % 3], str(seed))


def test_small_stacks() -> None:
    """The deepest that is compiled and rendered here, in a thread with half a megabyte, as some systems give."""
    code = """if True:
        import sys, threading
        from pyruntime.chat_template import ChatTemplate
        from pyruntime.errors import TemplateError
        deep = "{% if 1 %}" * 100 + "{% if a %}" + "{% elif b %}" * 150 + "{% endif %}" + "{% endif %}" * 100
        calls = "{% macro f(x) %}{% for i in [1] %}{{ [f(x), 1] | string }}{% endfor %}{% endmacro %}{{ f(1) }}"
        sources = [deep, calls, "{{ " + "[" * 39 + "]" * 39 + "}}", "{{ " + "not " * 140 + "1 }}"]
        def render():
            for source in sources:
                try:
                    ChatTemplate(source).render([{"role": "user", "content": "a"}])
                except TemplateError as error:
                    assert "recursion limit" in str(error)
            print("done")
        threading.stack_size(512 << 10)
        threading.Thread(target=render).start()
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "done\n"


# --- The process -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"ended without an answer \(SIGSEGV\)"),
        ("import os; os.abort()", "more than 64 MB"),
        ("import signal; signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()", "more than 1 s"),
        ("raise SystemExit(3)", r"ended without an answer \(exit code 3\)"),
    ],
)
def test_whatever_becomes_of_it_is_an_error(monkeypatch: pytest.MonkeyPatch, code: str, problem: str) -> None:
    monkeypatch.setattr(apart, "_RUN", code)
    with pytest.raises(TemplateError, match=f"^chat template: .*{problem}"):
        ChatTemplate("{{ 2 ** 2 }}")


def test_it_inherits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(apart, "_RUN", "import json, os; print(json.dumps({'text': ' '.join(os.environ)}))")
    assert "SECRET" not in apart.text("", {}, {}, [], "").split()
    assert "TZ" in apart.text("", {}, {}, [], "").split()


@pytest.mark.parametrize("path", ["/usr/bin/blender", "", None])
def test_programs_that_embed_python(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    python = sys.executable
    monkeypatch.setattr(sys, "executable", path)
    assert ChatTemplate("{{ messages[0].content }}").render([message("a")]) == "a"
    with pytest.raises(TemplateError, match=r"sys\.executable is .*; name a Python by multiprocessing\.set_executable"):
        ChatTemplate(HEAVY).render([message("a")])
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", multiprocessing.spawn.get_executable())
    multiprocessing.set_executable(python)
    with pytest.raises(TemplateError, match="out of fuel"):
        ChatTemplate(HEAVY).render([message("a")])


def test_frozen_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(TemplateError, match="needs a Python process of its own"):
        ChatTemplate(HEAVY).render([message("a")])


def test_a_python_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(TemplateError, match="python3: No such file or directory"):
        ChatTemplate(HEAVY).render([message("a")])


def test_ctrl_c_ends_it() -> None:
    code = f"""if True:
        import os, subprocess, sys, threading
        from pyruntime.chat_template import ChatTemplate, apart
        apart._RUN = "import time; time.sleep(60)"
        class Announced(subprocess.Popen):
            def communicate(self, *args, **kwargs):
                print(self.pid, flush=True)
                return super().communicate(*args, **kwargs)
        subprocess.Popen = Announced
        try:
            ChatTemplate({HEAVY!r}).render([{{"role": "user", "content": "a"}}])
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().splitlines()[-1] == "interrupted"
        assert time.monotonic() - start < 8  # the other would wait for ten
    if sys.platform == "linux":
        assert not Path(f"/proc/{pid}").exists()
