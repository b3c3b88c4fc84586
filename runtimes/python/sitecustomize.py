# SPDX-License-Identifier: Apache-2.0
#
# Lets a started python3 wait for its program: site imports this module before main.py is looked
# at, so what runs afterwards is an ordinary `python3 main.py`. The other side is csb-agent
# (src/channel/agent_wire.h, "Prepared interpreters"). With CSB_CONTROL_FD this process waits; with
# CSB_ZYGOTE_FD it forks processes that do, each into a jail, and never runs a program itself
# (src/jail/zygote.h). Without either nothing happens.


def _csb_begin(number, zygote):
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
    import gc  # noqa: F401
    import json  # noqa: F401
    import re  # noqa: F401

    if zygote is not None:
        library = os.path.join(os.path.dirname(here), "zygote.so")
        _csb_ways.append(_csb_zygote(int(zygote), library))
        _csb_finish_early(_csb_library(library)[1]("csb_zygote_leave"))
    else:
        _csb_ways.append(_csb_hold(int(number)))
        _csb_finish_early(_csb_library(None)[1]("exit"))


# The class with the two ways on from a fork: example() in the child to learn from, and serve(),
# which returns in a program alone, with its control descriptor, or -1 when all that it had to tell
# is told.
_csb_ways = []


# Never freed: it refers to itself and is out of the collector's sight. This file's own functions are
# in it, and what is on the way back to the interpreter: to take them apart touches more memory than
# a short program does.
_csb_kept = []


# Takes the memory that is left over between objects of each size, so that a program's own come to lie
# in pages of their own: else its first object of a size is two or three pages to copy.
def _csb_fill_pools():
    pool, head, largest, step = 16384, 48, 512, 16
    for size in range(3 * step, largest + 1, step):
        for _ in range(pool):
            block = bytes(size - bytes.__basicsize__)
            if id(block) % pool == head:
                break
            _csb_kept.append(block)


# What is there now lives as long as the process. Out of the collector's sight it makes the
# interpreter's end, most of a short run, twice as fast.
def _csb_freeze():
    import gc
    import sys

    gc.collect()
    frame = sys._getframe(1)
    while frame is not None:
        _csb_kept.append(frame)
        frame = frame.f_back
    _csb_kept.append(globals())
    gc.freeze()
    # The program's own module must stay in sight: its objects are collected at the end.
    main = type(sys)("__main__")
    main.__dict__.update(sys.modules["__main__"].__dict__)
    sys.modules["__main__"] = main
    if _csb_before:
        _csb_before[:] = (next(reversed(sys.modules)), _csb_before[0].raw)
    _csb_fill_pools()


# A child runs a short program to its end, so that nothing on the way is met for the first time by
# the real one; to a zygote it is the example of the memory that programs write to. It shares this
# process's hash seed but shows nothing to anyone.
def _csb_fork():
    from os import fork, waitpid

    child = fork()
    if child == 0:
        _csb_ways[0].example()
        return -1
    waitpid(child, 0)
    return _csb_ways[0].serve()


def _csb_hold(fd):
    import os
    import sys

    with open(sys.argv[0], "w") as program:
        program.write("print('hello')\n")

    class Hold:
        def example():
            null = os.open(os.devnull, os.O_RDWR)
            for target in (0, 1, 2):
                os.dup2(null, target)
            _csb_importer(os.path.abspath(sys.argv[0]), sys.path_hooks)

        def serve():
            os.unlink(sys.argv[0])
            os.write(fd, b"R")
            return fd

    return Hold


def _csb_told(fd):
    import json
    import os
    import sys

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


# Two ways to call a library's C functions, with and without a result; None: the interpreter's own.
# Its lock is held throughout.
def _csb_library(path):
    import _ctypes
    import os

    flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI

    class Int(_ctypes._SimpleCData):
        _type_ = "i"

    class Function(_ctypes.CFuncPtr):
        _flags_ = flags
        _restype_ = Int

    class Procedure(_ctypes.CFuncPtr):
        _flags_ = flags
        _restype_ = None

    loaded = _ctypes.dlopen(path, os.RTLD_NOW)

    def function(name):
        return Function(_ctypes.dlsym(loaded, name))

    def procedure(name):
        return Procedure(_ctypes.dlsym(loaded, name))

    return function, procedure


def _csb_zygote(fd, library):
    import os
    import sys

    python = _csb_library(None)[1]
    function, procedure = _csb_library(library)
    before_fork = python("PyOS_BeforeFork")
    after_fork = python("PyOS_AfterFork_Child")
    fork = function("csb_zygote")
    wait = function("csb_zygote_wait")
    learn_from = function("csb_zygote_example")
    procedure("csb_zygote_learn")()
    name = os.fsencode(sys.argv[0])

    class Zygote:
        def example():
            learn_from(name)

        # To the interpreter all the forks are one, in whose child what must not be shared (the
        # state of random, locks, thread ids) is made new as after os.fork().
        def serve():
            os.write(fd, b"R")
            before_fork()
            control = fork(fd)
            if control < 0:
                os._exit(0)
            after_fork()
            return wait(control, name)

    return Zygote


# Two thirds of what a short program costs is the interpreter's end: it takes apart, object by
# object, what was there before the program, and so copies the memory that was shared until then.
# So atexit has a function that it calls after all of the program's own. If the program came to its
# end by itself, it takes those modules out of sight and leaves an object where the interpreter looks
# after it has undone all that is the program's; there the process ends. Any other end (an exception,
# sys.exit(), streams that cannot be flushed) goes the long way as ever.
def _csb_finish_early(leave):
    import atexit
    import sys

    fields = _csb_fields()
    if fields is not None:
        atexit.register(_csb_finisher(fields, leave))
    # A program that imports them gets them as fresh as any other.
    del sys.modules["_ctypes"], sys.modules["atexit"]


# What a dictionary is beside its head, as memory: written over that of another, all that is in it
# has moved there without being touched. None for an interpreter of which that is not so.
def _csb_fields():
    import _ctypes

    class Char(_ctypes._SimpleCData):
        _type_ = "c"

    class Fields(_ctypes.Array):
        _type_ = Char
        _length_ = dict.__basicsize__ - object.__basicsize__

    def fields(d):
        return Fields.from_address(id(d) + object.__basicsize__)

    full, empty, other = {"a": 1}, {}, {}
    fields(other).raw = fields(full).raw
    fields(full).raw = fields(empty).raw
    full["b"] = 2
    if full != {"b": 2} or other != {"a": 1} or empty:
        return None
    return fields


# Set when nothing more is imported before the program: the last module there was, and what the
# builtins' fields were, which no change leaves as they are.
_csb_before = []


def _csb_finisher(fields, leave):
    import builtins
    import gc
    import os
    import sys
    from _weakref import ref

    modules = sys.modules
    hidden, empty = {}, {}
    modules_fields, hidden_fields, nothing = fields(modules), fields(hidden), fields(empty).raw
    builtins_fields = fields(builtins.__dict__)
    module = type(sys)
    collect, callbacks, get_debug = gc.collect, gc.callbacks, gc.get_debug
    environment = os.environ._data
    before = _csb_before
    before.append(builtins_fields)

    class End:
        def __init__(self, own):
            self.streams = (sys.stdout, sys.stderr)
            self.own = own

        # Among the modules it is met when they are gone but for what refers to itself. The
        # interpreter would collect that, and clear the modules that are left, which is its to do:
        # then this comes again when it clears sys.
        def __del__(self):
            if self.own is not None:
                collect()
                for still in self.own:
                    if still() is not None:
                        sys.csb_end = End(None)
                        return
            for stream in self.streams:
                try:
                    stream.flush()
                except BaseException:
                    pass
            leave(0)

    # Each name that is looked up in vain makes an exception, and touches a dozen pages.
    def finish():
        program = modules["__main__"].__dict__
        # The interpreter removes the first two when the program returned or raised an exception
        # other than SystemExit, and sets the third before it prints one.
        if "__file__" in program or "__cached__" in program or "last_type" in sys.__dict__:
            return
        if b"PYTHONINSPECT" in environment or os.environ._data is not environment:
            return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
        hidden_fields.raw = modules_fields.raw
        modules_fields.raw = nothing
        last, builtins_then = before
        names = []
        for name in reversed(hidden):
            if name is last:
                break
            names.append(name)
        modules["sys"] = sys
        modules["builtins"] = builtins
        modules["__main__"] = hidden.pop("__main__")
        for name in reversed(names):
            value = hidden.pop(name, None)
            if value is not None:
                modules[name] = value
        # What the program changed of the builtins is undone, and who watches the collector is told
        # of nothing, before what refers to itself is collected.
        if builtins_fields.raw != builtins_then or callbacks or get_debug():
            sys.csb_end = End(None)
        else:
            modules["csb_end"] = End([ref(m) for m in modules.values() if type(m) is module][2:])

    def try_finish():
        try:
            finish()
        except BaseException:
            pass

    _csb_kept.extend((End, hidden, empty, try_finish))
    return try_finish


# What the interpreter's importers say of the program: whether it is a directory or an archive. Of
# what csb_zygote_wait() saw to be a plain file they say no.
def _csb_importer(path, hooks):
    for hook in hooks:
        try:
            return hook(path)
        except ImportError:
            pass
    return None


def _csb_wait(zygote, path, hooks):
    try:
        _csb_freeze()
        fd = _csb_fork()
        if fd < 0:
            return None
        _csb_told(fd)
    except BaseException:
        _csb_failed(zygote)
        raise
    return _csb_importer(path, hooks)


# The interpreter would go on with main.py. A zygote is in no jail and must not.
def _csb_failed(zygote):
    if zygote:
        import os
        import traceback

        traceback.print_exc()
        os._exit(1)


# The last that the interpreter does in Python before the program is to ask whether an importer knows
# it. There is less of its own work left then than anywhere before, and so less memory to touch.
def _csb_wait_later(zygote):
    import os
    import sys

    program = os.path.abspath(sys.argv[0])
    hooks = sys.path_hooks

    def wait(path):
        if path != program:
            raise ImportError
        hooks.remove(wait)
        return _csb_wait(zygote, path, hooks)

    hooks.append(wait)


def _csb_start():
    import os

    number = os.environ.pop("CSB_CONTROL_FD", None)
    zygote = os.environ.pop("CSB_ZYGOTE_FD", None)
    try:
        _csb_begin(number, zygote)
        if number is not None or zygote is not None:
            _csb_wait_later(zygote is not None)
    except BaseException:
        _csb_failed(zygote is not None)
        raise


_csb_start()
