// SPDX-License-Identifier: Apache-2.0
// Generic containers, conditional and mapped types, overloads, tuples, type guards.
class Result<T, E = Error> {
  private constructor(private readonly inner: { ok: true; value: T } | { ok: false; error: E }) {}
  static ok<T>(value: T) { return new Result<T, never>({ ok: true, value }); }
  static err<E>(error: E) { return new Result<never, E>({ ok: false, error }); }
  map<U>(f: (t: T) => U): Result<U, E> { return this.inner.ok ? Result.ok(f(this.inner.value)) as Result<U, E> : this as unknown as Result<U, E>; }
  then_<U>(f: (t: T) => Result<U, E>): Result<U, E> { return this.inner.ok ? f(this.inner.value) : this as unknown as Result<U, E>; }
  fold<R>(ok: (t: T) => R, err: (e: E) => R): R { return this.inner.ok ? ok(this.inner.value) : err(this.inner.error); }
}
class PriorityQueue<T> {
  #heap: T[] = [];
  constructor(private less: (a: T, b: T) => boolean, items: Iterable<T> = []) { for (const i of items) this.push(i); }
  get size() { return this.#heap.length; }
  push(item: T) {
    const h = this.#heap;
    let i = h.push(item) - 1;
    for (let p = (i - 1) >> 1; i && this.less(h[i], h[p]); i = p, p = (i - 1) >> 1) [h[i], h[p]] = [h[p], h[i]];
  }
  pop(): T | undefined {
    const h = this.#heap, top = h[0], last = h.pop();
    if (h.length && last !== undefined) {
      h[0] = last;
      for (let i = 0;;) {
        let m = i;
        for (const c of [2 * i + 1, 2 * i + 2]) if (c < h.length && this.less(h[c], h[m])) m = c;
        if (m === i) break;
        [h[i], h[m]] = [h[m], h[i]];
        i = m;
      }
    }
    return top;
  }
  *drain(): Generator<T> { while (this.size) yield this.pop()!; }
}
type Getters<T> = { [K in keyof T & string as `get${Capitalize<K>}`]: () => T[K] };
function getters<T extends object>(o: T): Getters<T> {
  return Object.fromEntries(Object.entries(o).map(([k, v]) => [`get${k[0].toUpperCase()}${k.slice(1)}`, () => v])) as Getters<T>;
}
function pick(x: string): number;
function pick(x: number): string;
function pick(x: string | number) { return typeof x === "string" ? x.length : "#".repeat(x); }
const isRecord = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);
const parse = (s: string): Result<number, string> => /^\d+$/.test(s) ? Result.ok(+s) as Result<number, string> : Result.err(`bad '${s}'`) as Result<number, string>;

for (const s of ["12", "x", "0"]) {
  console.log(parse(s).map((n) => n * 2).then_((n) => n ? Result.ok(100 / n) as Result<number, string> : Result.err("zero") as Result<number, string>).fold((v) => `ok ${v}`, (e) => `error ${e}`));
}
console.log([...new PriorityQueue<[number, string]>(([a], [b]) => a < b, [[5, "e"], [1, "a"], [3, "c"], [2, "b"], [4, "d"]]).drain()].map(([, s]) => s).join(""));
const p = getters({ name: "Ada", born: 1815 } as const);
console.log(p.getName(), p.getBorn(), pick("four"), pick(3), isRecord({}), isRecord([]));
const groups = Object.groupBy(["apple", "bob", "avocado", "cat"], (w) => w[0]);
console.log(groups, Map.groupBy([1, 2, 3, 4], (n) => n % 2 ? "odd" : "even"));
const [first, ...others] = [1, 2, 3] as const satisfies readonly number[];
console.log(first, others, [3, 1, 2].toSorted(), [1, 2, 3].with(1, 9), [1, [2, [3, [4]]]].flat(Infinity), [1, 2, 3].at(-1), new Set([1, 2, 3]).intersection(new Set([2, 3, 4])));
let maybe: { deep?: { list?: number[] } } | null = { deep: {} };
console.log(maybe?.deep?.list?.[0] ?? "default", (maybe = null), maybe ?? "nothing");
label: for (let i = 0; i < 3; i++) { for (let j = 0; j < 3; j++) { if (j === 2) continue label; if (i === 2) break label; console.log(i, j); } }
