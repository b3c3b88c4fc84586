// SPDX-License-Identifier: Apache-2.0
class HttpError extends Error {
  constructor(readonly status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "HttpError";
  }
}

function load(key: string): string {
  try {
    return JSON.parse(key);
  } catch (cause) {
    throw new HttpError(422, `bad key ${key}`, { cause });
  }
}

try {
  load("{oops");
} catch (e) {
  if (e instanceof HttpError) console.log(e.name, e.status, e.message, "|", (e.cause as Error).message);
}
for (const f of [() => (null as unknown as string).length, () => BigInt("x"), () => new Array(-1),
  () => decodeURIComponent("%"), () => { throw "a string"; }, () => structuredClone(() => 0)]) {
  try {
    f();
  } catch (e) {
    console.log(e instanceof Error ? `${e.name}: ${e.message}` : e);
  } finally {
    console.log("finally");
  }
}
console.log(await Promise.allSettled([Promise.reject(new HttpError(500, "x")).catch((e) => e.status), Promise.resolve(1)]));
try {
  await Promise.any([Promise.reject(1), Promise.reject(2)]);
} catch (e) {
  console.log((e as AggregateError).errors);
}
function deep(n: number): number {
  return 1 + deep(n + 1);
}
try {
  deep(0);
} catch (e) {
  console.log(e instanceof RangeError, (e as Error).message);
}
throw new HttpError(503, "the last one\nhas two lines ✗", { cause: new Error("the reason") });
