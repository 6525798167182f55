"""What the core says of its build."""

from __future__ import annotations

import platform
import sysconfig

import pyruntime
from pyruntime import _core


def test_the_build_describes_itself() -> None:
    info = _core.build_info()
    assert set(info) == {
        "version", "compiler", "build_type", "sanitized", "processor", "free_threaded", "pybind11", "isas",
    }  # fmt: skip
    assert info["version"] == pyruntime.__version__
    assert info["compiler"].startswith(("GCC ", "Clang "))
    assert info["compiler"].split()[1][0].isdigit()
    assert info["free_threaded"] == bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert info["processor"] == platform.machine()


def test_its_instruction_sets_are_those_that_the_kernels_have() -> None:
    isas = _core.build_info()["isas"]
    assert [isa["name"] for isa in isas if isa["supported"]] == _core.available_isas()
    assert isas[-1] == {"name": "scalar", "needs": "nothing", "supported": True}
    assert all(isa["needs"] for isa in isas)
