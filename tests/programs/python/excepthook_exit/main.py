# SPDX-License-Identifier: Apache-2.0
import sys
import types


def hook(kind, value, trace):
    frames = []
    while trace:
        frames.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    print("hook:", kind.__name__, value, " > ".join(frames), file=sys.stderr)


sys.excepthook = hook
made = types.ModuleType("made")
exec("def boom(x):\n    return x.missing\n", made.__dict__)
print("calling", made.boom.__module__)


def outer():
    made.boom(types.SimpleNamespace(a=1))


outer()
