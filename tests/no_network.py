"""Runs Python with the system's call that makes a socket forbidden: `python no_network.py -m pyruntime VERB ...`.

A process that makes one all the same, in Python or in compiled code, in a child or in a thread, dies of SIGSYS. The filter is
seccomp(2)'s: pairs of sockets and pipes of the own process, which the terminal's event loop needs, are other calls.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

# Of the processor: its number in the kernel's audit.h, and that of socket(2).
_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of classic BPF, 32 bits each


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_sockets() -> None:
    """For this process and its children, for good. OSError where the kernel does not take a filter."""
    audit, socket = _ARCHITECTURES[platform.machine()]
    instructions = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_JUMP_IF_EQUAL, 0, 2, audit),  # another one: a 32-bit program, of which this knows nothing
        (_LOAD, 0, 0, 0),  # the call
        (_JUMP_IF_EQUAL, 0, 1, socket),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)
    program = _Program(len(instructions), code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "no seccomp filter here")


if __name__ == "__main__":
    forbid_sockets()
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
