// SPDX-License-Identifier: Apache-2.0
//
// The code interpreter calls of the published @e2b/code-interpreter against a contexts server
// alone: E2B_DEBUG makes the SDK ask for no sandbox, E2B_SANDBOX_URL leads it here. CSB_SDK is a
// directory with node_modules. Prints a line "ok - name" or "not ok - name # what was seen" each.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.env.CSB_SDK}/`));
const { Sandbox } = require("@e2b/code-interpreter");

function check(good, name, shown) {
  const text = good ? "" : ` # ${JSON.stringify(shown)?.slice(0, 800)}`;
  console.log(`${good ? "ok" : "not ok"} - ${name}${text}`);
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return undefined;
}

const sandbox = await Sandbox.create();

let e = await sandbox.runCode("1+1");
check(e.text === "2" && e.results.length === 1 && e.results[0].isMainResult &&
  JSON.stringify(e.results[0].extra) === "{}" && e.executionCount >= 1, "runCode: value", e);

e = await sandbox.runCode("print('a'); import sys; print('b', file=sys.stderr); x = 1");
check(e.logs.stdout.join("") === "a\n" && e.logs.stderr.join("") === "b\n" && e.text === undefined,
  "runCode: logs", e);

e = await sandbox.runCode("x; 1/0");
check(e.error?.name === "ZeroDivisionError" && e.error.value === "division by zero" &&
  e.error.traceback.includes("Traceback"), "runCode: error", e);

const seen = [];
e = await sandbox.runCode("print(1)\ndisplay(2)\nprint(3)\n1/0", {
  onStdout: (o) => seen.push(["stdout", o.line]),
  onStderr: (o) => seen.push(["stderr", o.line]),
  onResult: (r) => seen.push(["result", r.text]),
  onError: (r) => seen.push(["error", r.name]),
});
check(JSON.stringify(seen) === JSON.stringify([["stdout", "1\n"], ["result", "2"], ["stdout", "3\n"],
  ["error", "ZeroDivisionError"]]), "runCode: callbacks, in order", seen);

e = await sandbox.runCode("import os; os.environ.get('V')", { envs: { V: "w" } });
check(e.text === "w", "runCode: envs", e);

e = await sandbox.runCode("const n: number = 4; console.log(n); n * 2", { language: "ts" });
check(e.text === "8" && e.logs.stdout.join("") === "4\n", "runCode: ts", e);
e = await sandbox.runCode("1 + 2", { language: "js" });
check(e.text === "3", "runCode: js", e);
e = await sandbox.runCode("echo $((2+3))", { language: "bash" });
check(e.logs.stdout.join("") === "5\n", "runCode: bash", e);
let error = await failure(sandbox.runCode("1", { language: "cobol" }));
check(error?.constructor.name === "SandboxError", "runCode: unknown language", String(error));

e = await sandbox.runCode(`
import matplotlib.pyplot as plt
plt.plot([1, 2], [3, 4], label="l"); plt.title("T")
plt.show()`);
check(e.results.length === 1 && e.results[0].png?.startsWith("iVBOR") &&
  e.results[0].chart?.type === "line" && e.results[0].chart.title === "T" &&
  e.results[0].chart.elements[0].points[1][1] === 4 &&
  e.results[0].formats().includes("png"), "runCode: plot and chart", e.results[0]?.chart);

e = await sandbox.runCode("import pandas as pd; pd.DataFrame({'a': [1, 2]})");
check(e.results[0]?.html?.includes("<table") && JSON.stringify(e.results[0].data) ===
  '{"a":[1,2]}', "runCode: DataFrame", e);

const context = await sandbox.createCodeContext({ cwd: "/tmp", language: "python" });
check(context.cwd === "/tmp" && context.language === "python", "createCodeContext", context);
e = await sandbox.runCode("import os; z = 1; os.getcwd()", { context });
check(e.text === "/tmp", "runCode: in a context", e);
let list = await sandbox.listCodeContexts();
check(list.some((c) => c.id === context.id) && list.filter((c) => c.language === "python").length >= 2,
  "listCodeContexts", list);
await sandbox.restartCodeContext(context);
e = await sandbox.runCode("z", { context });
check(e.error?.name === "NameError", "restartCodeContext", e);
await sandbox.removeCodeContext(context.id);
error = await failure(sandbox.runCode("1", { context }));
check(error?.constructor.name === "NotFoundError" || /not found/i.test(String(error)),
  "removeCodeContext", String(error));

const begun = Date.now();
error = await failure(sandbox.runCode("import time; time.sleep(300)", { timeoutMs: 700 }));
e = await sandbox.runCode("x");
check(/timed? ?out/i.test(String(error)) && e.text === "1" && Date.now() - begun < 60_000,
  "a time-out interrupts the code, the context lives on", [String(error), e]);

const both = await Promise.all([1, 2, 3].map((n) => sandbox.runCode(`${n} * 10`)));
check(both.map((r) => r.text).join() === "10,20,30", "several at a time", both.map((r) => r.text));
process.exit(); // idle connections would keep it for a minute
