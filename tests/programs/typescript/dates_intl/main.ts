// SPDX-License-Identifier: Apache-2.0
// Fixed instants only; the zone is set by the program's environment.
const d = new Date(Date.UTC(2024, 1, 29, 23, 59, 59, 999));
console.log(d.toISOString(), d.getTime(), d.getTimezoneOffset(), d.toString());
console.log(new Date(2024, 9, 27, 2, 30).toISOString(), new Date(2024, 2, 31, 2, 30).toISOString());
for (const locale of ["en-US", "de-CH", "ja-JP", "ar-EG"]) {
  console.log(new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "short", timeZone: "Asia/Kathmandu" }).format(d));
}
console.log(new Intl.RelativeTimeFormat("fr", { numeric: "auto" }).format(-1, "day"), new Intl.PluralRules("ar").select(3), new Intl.ListFormat("es").format(["a", "b", "c"]));
console.log(new Intl.NumberFormat("hi-IN").format(12345678.9), new Intl.NumberFormat("en", { notation: "compact" }).format(1.5e9), new Intl.DisplayNames("de", { type: "region" }).of("JP"));
console.log(Date.parse("2024-02-30"), new Date("nonsense").getTime(), new Date(8.64e15 + 1).getTime(), d.toLocaleDateString("en-GB"));
const days = (a: Date, b: Date) => Math.round((+b - +a) / 864e5);
console.log(days(new Date("2023-12-25"), new Date("2024-03-01")), new Intl.DateTimeFormat().resolvedOptions().timeZone);
for (let y = 2020, found = 0; found < 5; y++) for (let m = 0; m < 12 && found < 5; m++) {
  if (new Date(Date.UTC(y, m, 13)).getUTCDay() === 5) { console.log("Friday 13th:", y, m + 1); found++; }
}
