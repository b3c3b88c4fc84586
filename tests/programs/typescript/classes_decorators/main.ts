// SPDX-License-Identifier: Apache-2.0
// Classes with private parts, accessors, statics, mixins, abstract bases, symbols, proxies.
abstract class Account {
  static #opened = 0;
  #balance = 0;
  readonly id: string;
  protected history: [kind: string, amount: number][] = [];
  constructor(protected readonly owner: string) {
    this.id = `${owner[0]}${++Account.#opened}`;
  }
  get balance(): number { return this.#balance; }
  set balance(n: number) { if (n < this.floor()) throw new RangeError(`${this.id}: ${n} is below ${this.floor()}`); this.#balance = n; }
  abstract floor(): number;
  move(amount: number): this {
    this.balance += amount;
    this.history.push([amount < 0 ? "out" : "in", Math.abs(amount)]);
    return this;
  }
  static get opened() { return Account.#opened; }
  static { console.log("static block"); }
  *[Symbol.iterator]() { yield* this.history; }
  get [Symbol.toStringTag]() { return "Account"; }
  [Symbol.toPrimitive](hint: string) { return hint === "number" ? this.#balance : `${this.owner}'s account`; }
  has(o: object) { return #balance in o; }
}
class Savings extends Account { floor() { return 0; } }
class Credit extends Account {
  constructor(owner: string, private limit: number) { super(owner); }
  override floor() { return -this.limit; }
}

type Constructor<T = object> = abstract new (...args: any[]) => T;
function Audited<B extends Constructor<Account>>(Base: B) {
  abstract class Mixed extends Base {
    log: string[] = [];
    override move(amount: number) { this.log.push(`${this.id}:${amount}`); return super.move(amount); }
  }
  return Mixed;
}
class Watched extends Audited(Savings) {}

enum Color { Red, Green = 5, Blue }
const enum Size { S = "small", L = "large" }
namespace Shapes { export const sides = { triangle: 3 }; export function of(n: keyof typeof sides) { return sides[n]; } }

const a = new Savings("Ann").move(100).move(-30), c = new Credit("Bob", 50).move(-50), w = new Watched("Cy").move(5);
console.log([...a], +a, `${c}`, `${a}` + 1, Object.prototype.toString.call(a), Account.opened, w.log, a.has(c), a.has({}));
try { c.move(-1); } catch (e) { console.log(String(e)); }
console.log(Color, Color[5], Size.L, Shapes.of("triangle"), w instanceof Savings, Object.getOwnPropertyNames(Object.getPrototypeOf(w)));
const seen: string[] = [];
const proxy = new Proxy({ x: 1 } as Record<string, number>, {
  get: (t, k) => { seen.push(`get ${String(k)}`); return Reflect.get(t, k) ?? 42; },
  set: (t, k, v) => { seen.push(`set ${String(k)}`); return Reflect.set(t, k, v * 2); },
  has: (_, k) => k === "magic", deleteProperty: () => false,
});
proxy.y = proxy.x + proxy.z;
console.log(proxy.y, "magic" in proxy, Reflect.deleteProperty(proxy, "x"), seen);
console.log(a, c, Object.freeze([1, { b: 2n }]), Symbol.for("s"), class Foo extends Array {}, function named() {});
