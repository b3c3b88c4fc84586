# SPDX-License-Identifier: Apache-2.0
#
# Lets a started python3 wait for its program: site imports this module before main.py is looked
# at, so what runs afterwards is an ordinary `python3 main.py`. The other side is csb-agent
# (src/channel/agent_wire.h, "Prepared interpreters"). With CSB_CONTROL_FD this process waits; with
# CSB_ZYGOTE_FD it forks processes that do, each into a jail, and never runs a program itself
# (src/jail/zygote.h). Without either nothing happens.


def _csb_wait(number, zygote):
    import os
    import sys

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
    if number is None and zygote is None:
        return

    # What programs use most. Each costs a run that does not use it a little at exit.
    import collections  # noqa: F401
    import functools  # noqa: F401
    import gc
    import json
    import re  # noqa: F401

    if zygote is not None:
        serve = _csb_zygote(os.path.join(os.path.dirname(here), "zygote.so"))

    # What is there now lives as long as the process. Out of the collector's sight it makes the
    # interpreter's end, most of a short run, twice as fast.
    gc.collect()
    gc.freeze()
    # The program's own module must stay in sight: its objects are collected at the end.
    main = type(sys)("__main__")
    main.__dict__.update(sys.modules["__main__"].__dict__)
    sys.modules["__main__"] = main

    # A child runs an empty program to its end, so that nothing on the way is met for the first
    # time by the real one; to a zygote it is the example of the memory that programs write to. It
    # shares this process's hash seed but shows nothing to anyone.
    place = f"/tmp/.csb-{os.getpid()}"
    os.mkdir(place)
    child = os.fork()
    if child == 0:
        os.close(int(zygote or number))
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

    fd = int(number) if zygote is None else serve(int(zygote))
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


# A function that serves a zygote's socket. It returns in the forked children alone, with the number
# of their control descriptor.
def _csb_zygote(library):
    import _ctypes
    import os
    import sys

    class Int(_ctypes._SimpleCData):
        _type_ = "i"

    # The interpreter's lock is held throughout.
    flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI

    class Function(_ctypes.CFuncPtr):
        _flags_ = flags
        _restype_ = Int

    class Procedure(_ctypes.CFuncPtr):
        _flags_ = flags
        _restype_ = None

    import atexit

    python = _ctypes.dlopen(None, 0)
    before_fork = Procedure(_ctypes.dlsym(python, "PyOS_BeforeFork"))
    after_fork = Procedure(_ctypes.dlsym(python, "PyOS_AfterFork_Child"))
    loaded = _ctypes.dlopen(library, os.RTLD_NOW)
    fork = Function(_ctypes.dlsym(loaded, "csb_zygote"))
    leave = Procedure(_ctypes.dlsym(python, "exit"))
    Procedure(_ctypes.dlsym(loaded, "csb_zygote_learn"))()
    # A program that imports them gets them as fresh as any other.
    del sys.modules["_ctypes"], sys.modules["atexit"]
    atexit.register(_csb_finisher(leave))

    # To the interpreter all the forks are one, in whose child what must not be shared (the state of
    # random, locks, thread ids) is made new as after os.fork().
    def serve(fd):
        os.write(fd, b"R")
        before_fork()
        control = fork(fd)
        if control < 0:
            os._exit(0)
        after_fork()
        return control

    return serve


# Two thirds of what a short program costs is the interpreter's end: it takes apart, object by
# object, what was there before the program, and so copies the memory that was shared until then.
# This returns a function for atexit, which runs it after all of the program's own. If the program
# came to its end by itself, it takes those modules out of sight and leaves an object where the
# interpreter looks after it has undone all that is the program's; there the process ends. Any other
# end (an exception, sys.exit(), streams that cannot be flushed) goes the long way as ever.
def _csb_finisher(leave):
    import os
    import sys

    names = [n for n in sys.modules if n not in ("sys", "builtins", "__main__")]
    kept = []  # never freed: it refers to itself and is out of the collector's sight
    kept.append(kept)

    class End:
        def __init__(self):
            self.streams = (sys.stdout, sys.stderr)

        def __del__(self):
            for stream in self.streams:
                try:
                    stream.flush()
                except BaseException:
                    pass
            leave(0)

    kept.append(End)

    def finish():
        program = sys.modules["__main__"].__dict__
        # The interpreter removes the first two when the program returned or raised an exception
        # other than SystemExit, and sets the third before it prints one.
        if "__file__" in program or "__cached__" in program or hasattr(sys, "last_type"):
            return
        if "PYTHONINSPECT" in os.environ:
            return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
        kept.extend(sys.modules.pop(name, None) for name in names)
        sys.csb_end = End()

    def try_finish():
        try:
            finish()
        except BaseException:
            pass

    return try_finish


def _csb_start():
    import os

    number = os.environ.pop("CSB_CONTROL_FD", None)
    zygote = os.environ.pop("CSB_ZYGOTE_FD", None)
    try:
        _csb_wait(number, zygote)
    except BaseException:
        # The interpreter would go on with main.py. A zygote is in no jail and must not.
        if zygote is not None:
            import traceback

            traceback.print_exc()
            os._exit(1)
        raise


_csb_start()
del _csb_start, _csb_wait, _csb_zygote, _csb_finisher
