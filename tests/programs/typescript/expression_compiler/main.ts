// SPDX-License-Identifier: Apache-2.0
// Tokens, a tree as a discriminated union, constant folding, a stack machine.
type Expr =
  | { kind: "num"; value: number }
  | { kind: "var"; name: string }
  | { kind: "bin"; op: Op; left: Expr; right: Expr }
  | { kind: "call"; name: keyof typeof functions; args: Expr[] };
type Op = "+" | "-" | "*" | "/" | "^";
type Code = ["push", number] | ["load", string] | ["op", Op] | ["call", keyof typeof functions, number];

const functions = { max: Math.max, min: Math.min, abs: Math.abs } satisfies Record<string, (...a: number[]) => number>;
const ops: Record<Op, { level: number; right?: true; f: (a: number, b: number) => number }> = {
  "+": { level: 1, f: (a, b) => a + b }, "-": { level: 1, f: (a, b) => a - b },
  "*": { level: 2, f: (a, b) => a * b }, "/": { level: 2, f: (a, b) => a / b },
  "^": { level: 3, right: true, f: (a, b) => a ** b },
};

class ParseError extends Error {
  override name = "ParseError";
  constructor(public readonly at: number, message: string) { super(message); }
}

function parse(text: string): Expr {
  const tokens = [...text.matchAll(/\s*(?:(\d+\.?\d*)|([a-z]+)|([-+*/^(),]))/gy)];
  const used = tokens.reduce((n, t) => n + t[0].length, 0);
  if (text.slice(used).trim()) throw new ParseError(used, `unexpected '${text.slice(used).trim()[0]}'`);
  let i = 0;
  const peek = () => tokens[i]?.[0].trim();
  const expect = (s: string) => { if (peek() !== s) throw new ParseError(i, `expected '${s}', got '${peek() ?? "end"}'`); i++; };
  function primary(): Expr {
    const t = tokens[i++];
    if (!t) throw new ParseError(i, "unexpected end");
    if (t[1]) return { kind: "num", value: +t[1] };
    if (t[2]) {
      if (peek() !== "(") return { kind: "var", name: t[2] };
      if (!(t[2] in functions)) throw new ParseError(i, `no function ${t[2]}`);
      const args: Expr[] = [];
      do { i++; args.push(level(1)); } while (peek() === ",");
      expect(")");
      return { kind: "call", name: t[2] as keyof typeof functions, args };
    }
    if (t[3] === "(") { const e = level(1); expect(")"); return e; }
    if (t[3] === "-") return { kind: "bin", op: "-", left: { kind: "num", value: 0 }, right: level(3) };
    throw new ParseError(i, `unexpected '${t[3]}'`);
  }
  function level(min: number): Expr {
    let left = primary();
    for (let op = ops[peek() as Op]; op && op.level >= min; op = ops[peek() as Op]) {
      const sign = peek() as Op;
      i++;
      left = { kind: "bin", op: sign, left, right: level(op.right ? op.level : op.level + 1) };
    }
    return left;
  }
  const e = level(1);
  if (i < tokens.length) throw new ParseError(i, `trailing '${peek()}'`);
  return e;
}

function fold(e: Expr): Expr {
  if (e.kind !== "bin") return e;
  const left = fold(e.left), right = fold(e.right);
  if (left.kind === "num" && right.kind === "num") return { kind: "num", value: ops[e.op].f(left.value, right.value) };
  return { ...e, left, right };
}

function compile(e: Expr): Code[] {
  switch (e.kind) {
    case "num": return [["push", e.value]];
    case "var": return [["load", e.name]];
    case "bin": return [...compile(e.left), ...compile(e.right), ["op", e.op]];
    case "call": return [...e.args.flatMap(compile), ["call", e.name, e.args.length]];
  }
}

function run(code: Code[], vars: Record<string, number>): number {
  const stack: number[] = [];
  for (const c of code) {
    if (c[0] === "push") stack.push(c[1]);
    else if (c[0] === "load") stack.push(vars[c[1]] ?? NaN);
    else if (c[0] === "op") { const b = stack.pop()!, a = stack.pop()!; stack.push(ops[c[1]].f(a, b)); }
    else stack.push(functions[c[1]](...stack.splice(-c[2])));
  }
  return stack[0];
}

for (const line of (await new Response(Deno.stdin.readable).text()).trim().split("\n")) {
  try {
    const code = compile(fold(parse(line)));
    console.log(line, "=>", run(code, { x: 3, y: -4 }), code);
  } catch (e) {
    if (!(e instanceof ParseError)) throw e;
    console.log(line, "=>", `${e}`, "at", e.at);
  }
}
