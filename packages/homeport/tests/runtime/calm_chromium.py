"""Chromium that hears nothing of network interfaces that come and go.

It breaks off all requests when one does (ERR_NETWORK_CHANGED), and each instance of a service brings one. So
it is started with a seccomp filter by which there are no netlink sockets, and takes the network to be as it
is.
"""

import ctypes
import os
import platform
import struct
import sys

_SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
_NETLINK, _REFUSED = 16, 97  # AF_NETLINK, EAFNOSUPPORT
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # prctl(2)
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp(2)

program = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (_LOAD, 0, 0, 0),  # which system call
        (_EQUAL, 0, 3, _SOCKET),
        (_LOAD, 0, 0, 16),  # its first argument
        (_EQUAL, 0, 1, _NETLINK),
        (_RETURN, 0, 0, _ERRNO | _REFUSED),
        (_RETURN, 0, 0, _ALLOW),
    )
)
buffer = ctypes.create_string_buffer(program)
described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, described):
    raise OSError(ctypes.get_errno(), "the filter cannot be set")
os.execv("/usr/bin/chromium", ["chromium", *sys.argv[1:]])  # noqa: S606 - no shell is wanted
