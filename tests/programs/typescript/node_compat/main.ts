// SPDX-License-Identifier: Apache-2.0
// The node: modules people rely on.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { execFileSync, spawn } from "node:child_process";
import crypto from "node:crypto";
import { EventEmitter, once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { Readable, Transform } from "node:stream";
import { inspect, promisify } from "node:util";
import zlib from "node:zlib";

console.log(process.argv.slice(2), process.argv.length, path.relative("/work/a", "/work/b/c.ts"), path.parse("/x/y.tar.gz"));
console.log(Buffer.from("héllo").toString("base64"), Buffer.concat([Buffer.from([1, 2]), Buffer.alloc(2, 7)]), os.EOL === "\n");
console.log(crypto.createHash("sha256").update("abc").digest("hex"), crypto.createHmac("sha1", "k").update("v").digest("base64"));
const bus = new EventEmitter();
setTimeout(() => bus.emit("ready", 1, "two"), 1);
console.log(await once(bus, "ready"));
const out: string[] = [];
await pipeline(Readable.from(["a", "b", "c"]), new Transform({ transform(c, _, done) { done(null, String(c).toUpperCase()); } }), async (s) => { for await (const c of s) out.push(String(c)); });
console.log(out, zlib.gunzipSync(zlib.gzipSync("zipped")).toString(), zlib.inflateSync(zlib.deflateSync(Buffer.alloc(1000))).length);
fs.writeFileSync("note.txt", "from node");
console.log(await promisify(fs.readFile)("note.txt", "utf8"), fs.existsSync("nope"), fs.readdirSync(".").sort());
console.log(execFileSync("echo", ["child"]).toString().trim());
const child = spawn("sh", ["-c", "cat; exit 3"]);
child.stdin.end("to the child");
child.stdout.on("data", (d) => console.log("child says", String(d)));
console.log(await once(child, "close"));
for await (const line of createInterface({ input: process.stdin })) console.log("line:", line);
console.log(inspect({ a: { b: { c: { d: 1 } } }, s: Symbol("x") }, { depth: 1 }));
try { assert.deepEqual({ a: 1, b: [1, 2] }, { a: 1, b: [1, 3] }); } catch (e) { console.log((e as Error).name, (e as { code: string }).code); }
process.on("exit", (c) => console.log("exit event", c));
process.exitCode = 6;
