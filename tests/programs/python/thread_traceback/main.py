# SPDX-License-Identifier: Apache-2.0
import threading


def inner(depth):
    if depth == 0:
        return {}["missing"]
    return inner(depth - 1)


t = threading.Thread(target=inner, args=(3,), name="background")
t.start()
t.join()
print("main goes on; exit code 0")
