// SPDX-License-Identifier: Apache-2.0
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const port = (listener.addr as Deno.NetAddr).port;
const served = (async () => {
  const got: string[] = [];
  for await (const conn of listener) {
    const text = await new Response(conn.readable).text();
    got.push(text.trim());
    if (text === "gamma\n") break;
  }
  return got;
})();
for (const word of ["alpha\n", "beta\n", "gamma\n"]) {
  const c = await Deno.connect({ hostname: "127.0.0.1", port });
  await c.write(new TextEncoder().encode(word));
  c.close();
}
console.log("received:", await served);
const path = "/tmp/deno-test.sock";
const unix = Deno.listen({ transport: "unix", path });
const accepted = unix.accept();
const client = await Deno.connect({ transport: "unix", path });
const peer = await accepted;
await client.write(new Uint8Array([1, 2, 3, 255]));
const buf = new Uint8Array(10);
console.log(await peer.read(buf), [...buf.subarray(0, 4)]);
await client.closeWrite();
console.log("eof:", await peer.read(buf));
peer.close();
client.close();
unix.close();
await Deno.remove(path).catch(() => {});
try {
  await Deno.connect({ hostname: "127.0.0.1", port });
} catch (e) {
  console.log((e as Error).name);
}
