// SPDX-License-Identifier: Apache-2.0
// Events from stdin applied to accounts; bad lines are told on stderr and make the exit code.
const accounts = new Map();
let bad = 0;
const text = await new Response(Deno.stdin.readable).text();
const actions = {
  open: (name) => accounts.set(name, { cents: 0n, log: [] }),
  add: (name, amount) => change(name, BigInt(amount)),
  take: (name, amount) => change(name, -BigInt(amount)),
  move(from, to, amount) { actions.take(from, amount); actions.add(to, amount); },
};
function change(name, cents) {
  const account = accounts.get(name);
  if (!account) throw new Error(`no account ${name}`);
  if (account.cents + cents < 0n) throw new RangeError(`${name} has only ${account.cents}`);
  account.cents += cents;
  account.log.push(cents);
}
text.split("\n").forEach((line, i) => {
  const [verb, ...args] = line.trim().split(/\s+/);
  if (!verb) return;
  try {
    if (!Object.hasOwn(actions, verb)) throw new SyntaxError(`unknown verb ${verb}`);
    actions[verb](...args);
  } catch (e) {
    bad++;
    console.error(`line ${i + 1}: ${e.name}: ${e.message}`);
  }
});
console.log(accounts);
Deno.exit(bad);
