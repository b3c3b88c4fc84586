// SPDX-License-Identifier: Apache-2.0
// Files in the working directory and in /tmp: read, write, seek, walk, links, watch the errors.
const kind = (i: { isFile: boolean; isDirectory: boolean; isSymlink: boolean }) => i.isFile ? "file" : i.isDirectory ? "dir" : i.isSymlink ? "link" : "?";
async function walk(dir: string, depth = 0): Promise<void> {
  for (const e of (await Array.fromAsync(Deno.readDir(dir))).sort((a, b) => a.name < b.name ? -1 : 1)) {
    console.log("  ".repeat(depth) + e.name, kind(e));
    if (e.isDirectory) await walk(`${dir}/${e.name}`, depth + 1);
  }
}
await Deno.mkdir("tree/a/b", { recursive: true });
await Deno.writeTextFile("tree/a/one.txt", "first\n");
await Deno.writeTextFile("tree/a/one.txt", "second\n", { append: true });
await Deno.writeFile("tree/a/b/bytes.bin", Uint8Array.from({ length: 300 }, (_, i) => i & 255), { mode: 0o600 });
await Deno.symlink("a/one.txt", "tree/link");
await Deno.copyFile("tree/link", "tree/copy.txt");
await Deno.rename("tree/copy.txt", "tree/moved.txt");
await walk(".");
const info = await Deno.stat("tree/a/b/bytes.bin"), link = await Deno.lstat("tree/link");
console.log(info.size, (info.mode! & 0o777).toString(8), link.isSymlink, await Deno.readLink("tree/link"));
{
  using f = await Deno.open("tree/a/b/bytes.bin", { read: true, write: true });
  await f.seek(-4, Deno.SeekMode.End);
  const buf = new Uint8Array(8);
  console.log(await f.read(buf), buf, await f.read(buf));
  await f.truncate(10);
  await f.seek(0, Deno.SeekMode.Start);
  console.log((await f.stat()).size, f.isTerminal());
}
const temp = await Deno.makeTempDir({ dir: "/tmp" });
const big = await Deno.open(`${temp}/big`, { write: true, create: true });
await ReadableStream.from(Array.from({ length: 50 }, (_, i) => `line ${i}\n`)).pipeThrough(new TextEncoderStream()).pipeTo(big.writable);
console.log((await Deno.readTextFile(`${temp}/big`)).split("\n").length, temp.startsWith("/tmp/"));
await Deno.remove(temp, { recursive: true });
for (const f of [() => Deno.readTextFile("absent"), () => Deno.mkdir("tree"), () => Deno.remove("tree"), () => Deno.readTextFile("tree"), () => Deno.open("tree/moved.txt", { createNew: true, write: true })]) {
  try { await f(); } catch (e) { console.log((e as Error).name, (e as Error).message); }
}
console.log(Deno.cwd() === import.meta.dirname, [...Deno.readDirSync("tree")].length);
