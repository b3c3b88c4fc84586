# SPDX-License-Identifier: Apache-2.0
import inspect
import runpy
import sys

import helper


def own_source():
    # This comment is read back by inspect.
    return inspect.getsource(own_source)


if __name__ == "__main__":
    print("globals:", sorted(k for k in globals() if k.startswith("__")))
    print("spec:", __spec__, "doc:", __doc__, "package:", __package__)
    print(own_source(), end="")
    print(helper.who(), helper.caller_module())
    print(sys.modules["__main__"].own_source is own_source)
    result = runpy.run_path("helper.py", run_name="__main__")
    print(result["who"]())
    print(sys.argv, sys.flags.interactive, sys.flags.optimize, sys.flags.isolated)
    print(sys.path[0], sys.getrecursionlimit(), sys.stdin.isatty(), sys.stdout.isatty())
    exec(compile("print('exec in', __name__)", "made-up.py", "exec"))
    print(eval("a + 1", {"a": 41}), vars(helper)["__file__"])
    assert helper.who() == "nobody", "an assertion with a message"
