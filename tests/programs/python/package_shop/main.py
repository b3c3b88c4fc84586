# SPDX-License-Identifier: Apache-2.0
import sys

import shop
from shop import Cart, inventory
from shop.pricing import discounts as d

print("argv:", sys.argv)
print("name:", __name__, "file:", __file__, "path0:", sys.path[0])
print("package:", shop.__name__, shop.__version__, shop.__path__)
cart = Cart()
for line in inventory.LINES:
    cart.add(*line)
for item in cart:
    print(f"{item.name:<12}{item.count:>3} x {item.cents / 100:>8.2f}")
print("plain:", cart.total())
print("three for two:", cart.total(d.three_for_two))
print("chained:", cart.total(d.chain(d.three_for_two, d.percent(10))))
with open("data/notes.txt", encoding="utf-8") as f:
    print([line.strip() for line in f])
try:
    cart.add("ghost", -1, 5)
except shop.CartError as e:
    print("refused:", e, type(e).__module__)
cart.explode()
