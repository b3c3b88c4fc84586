# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass

from .pricing import identity


class CartError(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class Item:
    name: str
    count: int
    cents: int


class Cart:
    def __init__(self):
        self._items = []

    def add(self, name, count, cents):
        if count < 0:
            raise CartError(f"{name}: negative count {count}")
        self._items.append(Item(name, count, cents))

    def __iter__(self):
        return iter(self._items)

    def total(self, rule=identity):
        return sum(rule(item) for item in self)

    def explode(self):
        return self._items["zero"]
