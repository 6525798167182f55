"""minijinja, as chat templates need it: a template, compiled, under limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pyruntime.chat_template import functions
from pyruntime.chat_template.conversation import folded, variables
from pyruntime.chat_template.limits import TOO_LARGE, Budget, Exceeded, Limits, alone, tick
from pyruntime.chat_template.marks import render_marked
from pyruntime.chat_template.values import extent, kept
from pyruntime.errors import TemplateError

Guard = Callable[[], AbstractContextManager[None]]
_MAX_OUTPUT = 8 << 20  # bytes
_NO_MEMORY = "PyObject pointer is null"  # what PyO3 says where Python had none for an object


class Engine:
    """A template that is translated already. TemplateError if it does not compile.

    `limits` gives those of a conversation by its size: where they are reached, `beside` raises Exceeded, and `alone`
    TemplateError. `guard` surrounds what minijinja does.
    """

    def __init__(
        self, text: str, constants: Mapping[str, str], limits: Callable[[int], Limits], guard: Guard = nullcontext
    ) -> None:
        self._constants = dict(constants)
        self._limits = limits
        self._guard = guard
        self._known_to_refuse: bool | None = None
        self._environment = _environment()
        with guard():
            _guarded(self._environment.add_template, "chat", text)

    def text(self, context: dict[str, Any], special: Sequence[str] = (), mark: str = "") -> str:
        """The conversation, with marks in what may not be one of the control tokens `special` (marks.py)."""
        budget = Budget(self._limits(extent(context.values())[0]))

        def render(context: dict[str, Any]) -> str:
            return self._render(context, budget)

        first = next(iter(context["messages"]), None)
        if first is not None and first["role"] == "system" and self._refuses_system(render):
            context = context | {"messages": folded(context["messages"])}
        return render_marked(render, context, special, mark) if special else render(context)

    def _refuses_system(self, render: Callable[[dict[str, Any]], str]) -> bool:
        """Whether it raises for a system message, and not for the same conversation without one."""
        if self._known_to_refuse is None:
            user = {"role": "user", "content": "Hello."}
            self._known_to_refuse = _raises(render, [{**user, "role": "system"}, user]) and not _raises(render, [user])
        return self._known_to_refuse

    def _render(self, context: dict[str, Any], budget: Budget) -> str:
        self._environment.fuel = budget.limits.fuel
        try:
            with budget.rendering(), self._guard():
                try:
                    text: str = _guarded(self._environment.render_template, "chat", **self._constants | context)
                except TemplateError:
                    budget.check()
                    raise
                budget.check()
        except Exceeded as error:
            if self._limits is alone:  # there is no more room anywhere
                raise TemplateError(str(error)) from None
            raise
        if len(text.encode()) > _MAX_OUTPUT:
            raise TemplateError(f"chat template: the text has more than {_MAX_OUTPUT >> 20} MB")
        return text


def _raises(render: Callable[[dict[str, Any]], str], messages: list[dict[str, str]]) -> bool:
    try:
        render(variables(messages, None, True, {}))
    except TemplateError:
        return True
    return False


def _environment() -> Any:
    from minijinja import Environment

    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    for name in ("batch", "slice", "zip", "chain"):  # lists of what they are given, many times over
        environment.remove_filter(name)
    for name in ("cycler", "debug", "joiner", "lipsum", "randrange"):
        environment.remove_global(name)
    environment.add_filter("tojson", functions.to_json)
    environment.add_filter("format", functions.percent_format)
    environment.add_test("sequence", functions.is_sequence)
    environment.add_global("raise_exception", functions.raise_exception)
    environment.add_global("strftime_now", functions.strftime_now)
    # What source.py and expression.py write.
    environment.add_global("keep__", kept)
    environment.add_global("tick__", tick)
    environment.add_global("modulo__", functions.modulo)
    environment.add_global("method__", functions.method)
    return environment


def _guarded(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Whatever goes wrong in a template, a panic of the library included, is a TemplateError, or Exceeded."""
    try:
        return call(*args, **kwargs)
    except (TemplateError, Exceeded, KeyboardInterrupt, SystemExit):
        raise
    except MemoryError:
        raise Exceeded(TOO_LARGE) from None
    except BaseException as error:
        panics = type(error).__name__ == "PanicException"
        if not isinstance(error, Exception) and not panics:
            raise
        if panics and str(error) == _NO_MEMORY:
            raise Exceeded(TOO_LARGE) from None
        problem = f"chat template: {functions.one_line(getattr(error, 'message', error))}"
        if getattr(error, "kind", "") == "OutOfFuel":
            raise Exceeded(problem) from None
        raise TemplateError(problem) from None
