# SPDX-License-Identifier: Apache-2.0
import sys


def who():
    return __name__


def caller_module():
    return sys._getframe(1).f_globals["__name__"]


if __name__ == "__main__":
    print("helper run as a program")
