# SPDX-License-Identifier: Apache-2.0
"""Exceptions with causes, contexts, notes, groups and suppressed frames."""
import traceback


class Refused(Exception):
    """An error of this program."""


def parse(text):
    try:
        return int(text)
    except ValueError as e:
        raise Refused(f"not a number: {text!r}") from e


def context():
    try:
        {}["nothing"]
    except KeyError:
        [].pop()


def hidden():
    try:
        1 / 0
    except ZeroDivisionError:
        raise Refused("without context") from None


for f in (lambda: parse("seven"), context, hidden):
    try:
        f()
    except Exception:
        traceback.print_exc()
try:
    raise ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [TypeError("t")])])
except* TypeError as eg:
    print("types:", eg.exceptions)
except* ValueError as eg:
    print("values:", eg.exceptions)
print(traceback.extract_stack()[-1].line)


def recurse(n):
    return recurse(n + 1)


try:
    recurse(0)
except RecursionError as e:
    print("recursion:", e)
error = Refused("the last one")
error.add_note("a note on it")
error.add_note("and another: ñ")
(lambda: (_ for _ in ()).throw(error))()
