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

    # What programs use most. Each costs a run that does not use it a little at exit.
    import collections  # noqa: F401
    import functools  # noqa: F401
    import gc
    import json
    import re  # noqa: F401

    # A child runs an empty program to its end, so that nothing on the way is met for the first
    # time by the real one. It shares this process's hash seed but shows nothing to anyone.
    place = f"/tmp/.csb-{os.getpid()}"
    os.mkdir(place)
    child = os.fork()
    if child == 0:
        os.close(int(number))
        null = os.open(os.devnull, os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(null, target)
        os.chdir(place)
        with open(sys.argv[0], "w") as program:
            program.write("import sys\nprint(f'{sys.argv!r}')\n")
        return
    os.waitpid(child, 0)
    for name in os.listdir(place):
        os.unlink(f"{place}/{name}")
    os.rmdir(place)

    # What is there now lives as long as the process. Out of the collector's sight it makes the
    # interpreter's end, most of a short run, twice as fast.
    gc.collect()
    gc.freeze()

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
