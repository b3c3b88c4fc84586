# SPDX-License-Identifier: Apache-2.0
#
# Lets a started python3 wait for its program: site imports this module before main.py is looked
# at, so what runs afterwards is an ordinary `python3 main.py`. The other side is csb-agent
# (src/channel/agent_wire.h, "Prepared interpreters"). Without CSB_CONTROL_FD it does nothing.


def _csb_wait():
    import os
    import sys

    number = os.environ.pop("CSB_CONTROL_FD", None)
    here = os.path.dirname(__file__)
    os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [p for p in sys.path if p != here]
    sys.path_importer_cache.pop(here, None)

    # The distribution's own module of this name, which this one hides.
    del sys.modules["sitecustomize"]
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        sys.modules["sitecustomize"] = type(sys)("sitecustomize")
    if number is None:
        return

    # What programs use most; each costs a run that does not use it a little at exit.
    import collections  # noqa: F401
    import functools  # noqa: F401
    import json
    import re  # noqa: F401

    # The first compilation, print and flush touch code and memory that would be cold otherwise.
    exec(compile("def f(x):\n    return [i * x for i in range(3)]\nf(1)\n", "warm", "exec"), {})
    sys.stdout.write("")
    sys.stdout.flush()

    fd = int(number)
    os.write(fd, b"R")
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        part = os.read(fd, 65536)
        if not part:
            os._exit(125)
        data += part
    os.close(fd)
    told = json.loads(data[4:])
    sys.argv[1:] = told["args"]
    sys.orig_argv[len(sys.orig_argv) :] = told["args"]
    os.environ.update(told["env"])


_csb_wait()
del _csb_wait
