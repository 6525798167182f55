"""What --version prints: the package, its build, and the instruction set whose kernels would run."""

from __future__ import annotations

from pyruntime import __version__


def version_text() -> str:
    """Three lines, or two where the compiled core cannot be loaded: the second then says why."""
    head = f"pyruntime {__version__}"
    try:
        from pyruntime import _core
    except ImportError as error:
        return f"{head}\nno core: {error}"
    from pyruntime.errors import UnsupportedError

    build = _core.build_info()
    sanitized = ", sanitized" if build["sanitized"] else ""
    names = ", ".join(isa["name"] for isa in build["isas"])
    try:
        runs = f"runs {_core.isa()} of {names}"
    except UnsupportedError as error:  # PYRUNTIME_ISA
        runs = f"runs nothing: {error}"
    return f"{head}\nbuilt by {build['compiler']} for {build['processor']} ({build['build_type']}{sanitized})\n{runs}"
