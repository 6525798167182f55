"""The generated part of docs/api.md, out of the source alone: nothing is imported, so every Python writes the same."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from table import cell

PACKAGE = Path(__file__).resolve().parent.parent / "pyruntime"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def text() -> str:
    """A section for each name of `pyruntime.__all__`, and one for the errors."""
    package = _parse(PACKAGE / "__init__.py")
    home, exported = _value(package, "_HOME"), _value(package, "__all__")
    parts = [_exported(name, home[name]) for name in sorted(exported) if name in home]
    errors = [node for node in _parse(PACKAGE / "errors.py").body if isinstance(node, ast.ClassDef)]
    rows = "\n".join(f"| `{error.name}` | {_bases(error)} | {_doc(error)} |" for error in errors)
    return "\n\n".join([*parts, f"## pyruntime.errors\n\n| error | is a | |\n|---|---|---|\n{rows}"])


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _value(module: ast.Module, name: str) -> dict[str, str]:
    """The literal assigned to a name of a module."""
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            value: dict[str, str] = ast.literal_eval(node.value)
            return value
    raise LookupError(name)


def _exported(name: str, module: str) -> str:
    """The section of a class or function, which may be defined in a submodule that `module` imports it from."""
    tree = _find(PACKAGE / module.replace(".", "/"), name)
    if isinstance(tree, ast.ClassDef):
        return _class(tree)
    return f"## {name}\n\n{_code(_signature(tree))}\n\n{_prose(tree, _names(tree))}"


def _find(module: Path, name: str) -> ast.ClassDef | Function:
    files = [module.with_suffix(".py")] if module.with_suffix(".py").exists() else sorted(module.glob("*.py"))
    for file in files:
        for node in _parse(file).body:
            if isinstance(node, ast.ClassDef | Function) and node.name == name:
                return node
    raise LookupError(f"{name} in {module}")


def _class(node: ast.ClassDef) -> str:
    """Docstring, constructor, attributes, and methods: those without an underscore, in the order of the source."""
    functions = [f for f in node.body if isinstance(f, Function) and not _is(f, "overload")]
    public = [f for f in functions if not f.name.startswith("_")]
    attributes = [f for f in public if _is(f, "property") or _is(f, "cached_property")]
    constructor = [f for f in functions if f.name == "__init__"]
    fields = [_field(a) for a in node.body if isinstance(a, ast.AnnAssign) and _is_public(a.target)]
    names = {name for f in constructor for name in _names(f)} | {field.split("`")[1] for field in fields}
    parts = [f"## {node.name}", _prose(node, names)]
    if fields:
        parts.append("\n".join(["| field | type | default |", "|---|---|---|", *fields]))
    parts += [_code(_signature(f, node.name)) for f in constructor if not _is_made_elsewhere(node)]
    if attributes:
        rows = [f"| `{f.name}` | `{_annotation(f.returns)}` | {cell(_doc(f))} |" for f in attributes]
        parts.append("\n".join(["| attribute | type | |", "|---|---|---|", *rows]))
    for method in public:
        if method not in attributes:
            prose = _prose(method, _names(method))
            parts.append(f"### {node.name}.{method.name}\n\n{_code(_signature(method))}\n\n{prose}".rstrip())
    return "\n\n".join(part for part in parts if part)


def _is_made_elsewhere(node: ast.ClassDef) -> bool:
    """Whether users do not call the class themselves: its docstring then says what makes it."""
    return "made by `" in _doc(node).lower()


def _is(function: Function, decorator: str) -> bool:
    return any(isinstance(d, ast.Name) and d.id == decorator for d in function.decorator_list)


def _is_public(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and not target.id.startswith("_")


def _field(node: ast.AnnAssign) -> str:
    value = node.value
    if isinstance(value, ast.Call):  # dataclasses.field(default=...) or (default_factory=...)
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        factory = given.get("default_factory")
        value = given.get("default") if factory is None else ast.Call(factory, [], [])
    default = "" if value is None else f"`{ast.unparse(value)}`"
    return f"| `{ast.unparse(node.target)}` | `{_annotation(node.annotation)}` | {default} |"


def _annotation(node: ast.expr | None) -> str:
    return "" if node is None else cell(ast.unparse(node))


def _bases(node: ast.ClassDef) -> str:
    return ", ".join(f"`{ast.unparse(base)}`" for base in node.bases)


def _doc(node: ast.ClassDef | Function) -> str:
    return inspect.cleandoc(ast.get_docstring(node) or "")


def _names(function: Function) -> set[str]:
    arguments = function.args
    return {argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}


def _prose(node: ast.ClassDef | Function, names: set[str]) -> str:
    """The docstring, each line that begins `name: ` or `one, another: ` with these names as an item of a list."""

    def item(match: re.Match[str]) -> str:
        if not names.issuperset(match.group(1).split(", ")):
            return match.group()
        return f"- {', '.join(f'`{name}`' for name in match.group(1).split(', '))}: "

    return re.sub(r"^([a-z_]+(?:, [a-z_]+)*): ", item, _doc(node), flags=re.MULTILINE)


def _code(value: str) -> str:
    return f"```python\n{value}\n```"


def _signature(function: Function, name: str = "") -> str:
    """`name(parameters) -> type`, without self; a parameter a line if it is long."""
    arguments = function.args
    bound = arguments.args and arguments.args[0].arg in ("self", "cls")
    parameters = []
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in list(zip(positional, defaults, strict=True))[1 if bound else 0 :]:
        parameters.append(_parameter(argument, default))
    if arguments.vararg:
        parameters.append(f"*{_parameter(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        parameters.append("*")
    parameters += [_parameter(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        parameters.append(f"**{_parameter(arguments.kwarg, None)}")
    returns = "" if name or function.returns is None else f" -> {ast.unparse(function.returns)}"
    line = f"{name or function.name}({', '.join(parameters)}){returns}"
    if len(line) <= 110:
        return line
    return f"{name or function.name}(\n    " + ",\n    ".join(parameters) + f",\n){returns}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    annotation = "" if argument.annotation is None else f": {ast.unparse(argument.annotation)}"
    if default is None:
        return argument.arg + annotation
    return f"{argument.arg}{annotation}{' = ' if annotation else '='}{ast.unparse(default)}"
