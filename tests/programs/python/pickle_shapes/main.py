# SPDX-License-Identifier: Apache-2.0
import copyreg
import io
import pickle
import pickletools
import shelve


class Node:
    def __init__(self, value, *children):
        self.value, self.children, self.parent = value, list(children), None
        for c in children:
            c.parent = self

    def depth(self):
        return 1 + max((c.depth() for c in self.children), default=0)


class Temperature:
    __slots__ = ("kelvin", "cache")

    def __init__(self, kelvin):
        self.kelvin, self.cache = kelvin, "not saved"

    def __getstate__(self):
        return self.kelvin

    def __setstate__(self, kelvin):
        self.kelvin, self.cache = kelvin, "restored"


class Celsius(complex):
    pass


copyreg.pickle(Celsius, lambda c: (Celsius, (c.real, c.imag)))
tree = Node("root", Node("a", Node("b")), Node("c"))
for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    back = pickle.loads(pickle.dumps(tree, protocol))
    print(protocol, back.depth(), back.children[0].parent is back, type(back) is Node)
t = pickle.loads(pickle.dumps(Temperature(300.5)))
print(t.kelvin, t.cache, pickle.loads(pickle.dumps(Celsius(1, 2))))
loop = [1]
loop.append(loop)
print(pickle.loads(pickle.dumps(loop)), pickle.loads(pickle.dumps({1: {2, 3}, None: b"\0"})))


class Careful(pickle.Unpickler):
    def find_class(self, module, name):
        if module != "__main__":
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


print(Careful(io.BytesIO(pickle.dumps(Node(1)))).load().value)
try:
    Careful(io.BytesIO(pickle.dumps(print))).load()
except pickle.UnpicklingError as e:
    print(e)
out = io.StringIO()
pickletools.dis(pickle.dumps((1, "two"), 4), out)
print(out.getvalue())
with shelve.open("shelf") as s:
    s["tree"] = tree
with shelve.open("shelf") as s:
    print(list(s), s["tree"].depth())
pickle.dumps(open("shelf-lock", "w"))
