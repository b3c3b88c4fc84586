# SPDX-License-Identifier: Apache-2.0
import logging
import logging.handlers
import sys
import warnings

logging.basicConfig(level=logging.DEBUG, format="%(levelname)-8s %(name)s:%(funcName)s:%(lineno)d %(message)s")
log = logging.getLogger("app.part")
log.info("to stderr with %s", "arguments")
memory = logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
log.addHandler(memory)


def risky(n):
    try:
        return 10 / n
    except ZeroDivisionError:
        log.exception("n was %d", n)


risky(0)
log.warning("ünï %r", {"k": 1})
logging.getLogger("app").setLevel(logging.ERROR)
log.info("silenced")
memory.flush()
warnings.warn("shown on stderr with a line of source", UserWarning)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.warn("caught", DeprecationWarning)
    print([str(w.message) for w in caught])
sys.unraisablehook = lambda u: print("unraisable:", u.exc_value)


class Bad:
    def __del__(self):
        raise ValueError("in __del__")


b = Bad()
del b
print("done")
