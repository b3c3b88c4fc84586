# SPDX-License-Identifier: Apache-2.0
from . import identity


def three_for_two(item):
    return (item.count - item.count // 3) * item.cents


def percent(n):
    return lambda cents: cents * (100 - n) // 100


def chain(first, *rest):
    def rule(item):
        value = first(item)
        for step in rest:
            value = step(value)
        return value
    return rule


assert identity.__module__ == "shop.pricing"
