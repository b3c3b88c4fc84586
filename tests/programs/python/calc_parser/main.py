# SPDX-License-Identifier: Apache-2.0
"""A calculator: tokenizer, Pratt parser, exact fractions, errors that point at the column."""
import re
import sys
from fractions import Fraction

TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|(\*\*|[-+*/()%=])|([a-z]\w*))")


class Oops(Exception):
    def __init__(self, message, column):
        super().__init__(message)
        self.column = column


def tokens(line):
    at = 0
    while line[at:].strip():
        found = TOKEN.match(line, at)
        if not found:
            raise Oops("unexpected character", at + 1)
        number, sign, name = found.groups()
        kind = "num" if number else "op" if sign else "name"
        yield kind, number or sign or name, found.start(found.lastindex) + 1
        at = found.end()
    yield "end", "", len(line) + 1


POWER = {"+": 10, "-": 10, "*": 20, "/": 20, "%": 20, "**": 31}


class Parser:
    def __init__(self, line, names):
        self.all = list(tokens(line))
        self.names = names
        self.i = 0

    def take(self):
        self.i += 1
        return self.all[self.i - 1]

    def expression(self, floor=0):
        kind, text, column = self.take()
        if kind == "num":
            left = Fraction(text)
        elif kind == "name":
            if text not in self.names:
                raise Oops(f"unknown name {text}", column)
            left = self.names[text]
        elif text == "-":
            left = -self.expression(25)
        elif text == "(":
            left = self.expression()
            if self.take()[1] != ")":
                raise Oops("missing )", self.all[self.i - 1][2])
        else:
            raise Oops(f"unexpected {text or 'end'}", column)
        while POWER.get(self.all[self.i][1], -1) > floor:
            _, op, column = self.take()
            right = self.expression(POWER[op] - (op == "**"))
            try:
                left = {"+": lambda: left + right, "-": lambda: left - right,
                        "*": lambda: left * right, "/": lambda: left / right,
                        "%": lambda: left % right,
                        "**": lambda: Fraction(left) ** int(right)}[op]()
            except ZeroDivisionError:
                raise Oops("division by zero", column) from None
        return left


names = {}
bad = 0
for number, line in enumerate(sys.stdin, 1):
    line = line.rstrip("\n")
    try:
        target = None
        body = line
        m = re.match(r"([a-z]\w*)\s*=(.*)", line)
        if m:
            target, body = m.groups()
        p = Parser(body, names)
        value = p.expression()
        if p.all[p.i][0] != "end":
            raise Oops("trailing input", p.all[p.i][2])
        if target:
            names[target] = value
        print(f"{line} => {value}")
    except Oops as e:
        bad += 1
        print(f"line {number}, column {e.column}: {e}", file=sys.stderr)
print("names:", ", ".join(f"{k}={v}" for k, v in names.items()))
sys.exit(3 if bad else 0)
