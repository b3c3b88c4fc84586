// SPDX-License-Identifier: Apache-2.0
const samples = ["e\u0301", "é", "👩‍👩‍👧‍👦", "🇨🇭", "שלום עולם", "مرحبا", "Straße", "İstanbul", "ﬁne", "日本語", "𝔘𝔫𝔦", "\u200fRTL", "नमस्ते"];
const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
for (const s of samples) {
  console.log(s, s.length, [...s].length, [...graphemes.segment(s)].length, new TextEncoder().encode(s).length,
    s.normalize("NFC").length, s.normalize("NFKD").length, s.toUpperCase(), s.toLowerCase());
}
console.log("é" === "e\u0301".normalize(), "\u{1F642}".codePointAt(0), "🙂".charCodeAt(1), "🙂".split("").map((c) => c.charCodeAt(0)));
console.log(encodeURIComponent("ünï/🙂"), escape("é"), JSON.stringify("\ud800 lone"), "\ud800".isWellFormed(), "a\ud800b".toWellFormed() === "a\ufffdb");
console.log(["zebra", "Äpfel", "apfel", "Zoo", "éclair"].sort(), ["z", "ä", "a"].sort(new Intl.Collator("de").compare));
console.log(new TextDecoder().decode(new Uint8Array([111, 107, 255, 254])) === "ok\ufffd\ufffd");
try {
  new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([0xff]));
} catch (e) {
  console.log((e as Error).name);
}
console.log(new TextDecoder("utf-16le").decode(new Uint8Array([0xe9, 0, 0x3d, 0xd8, 0x42, 0xde])), new TextDecoder("latin1").decode(new Uint8Array([0xe9])));
console.log("naïve café".match(/\p{L}+/gu), "x١٢".match(/\p{Nd}+/u)?.[0], /^\p{RGI_Emoji}$/v.test("👩‍👩‍👧‍👦"));
const größe = 3, 变量 = 4;
console.log(größe * 变量, { "ключ": "значение", "🔑": ["מפתח"] });
console.log(await new Response(Deno.stdin.readable).text());
await Deno.writeTextFile("файл 🦕.txt", "содержимое");
console.log([...Deno.readDirSync(".")].map((d) => d.name).sort());
console.error("stderr ✗ \u202eRLO");
throw new Error("исключение 🔥 שגיאה");
