// SPDX-License-Identifier: Apache-2.0
import process from "node:process";

globalThis.addEventListener("beforeunload", () => console.log("beforeunload"));
globalThis.addEventListener("unload", () => console.log("unload", Deno.exitCode));
process.on("exit", (code) => console.log("process exit", code));
Deno.exitCode = 17;
setTimeout(() => console.log("timer still runs"), 5);
queueMicrotask(() => console.log("microtask"));
console.log("end of main", Deno.exitCode);
