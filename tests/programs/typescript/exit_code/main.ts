// SPDX-License-Identifier: Apache-2.0
globalThis.addEventListener("unload", () => console.log("unload runs"));
globalThis.addEventListener("beforeunload", () => console.log("beforeunload does not run on exit"));
try {
  setTimeout(() => console.log("never"), 0);
  console.log("leaving with 4");
  Deno.exit(4);
} finally {
  console.log("no finally after exit");
}
