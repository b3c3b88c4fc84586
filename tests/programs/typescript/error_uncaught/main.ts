// SPDX-License-Identifier: Apache-2.0
interface Row { id: number; tags?: string[] }

function total(rows: Row[]): number {
  return rows.reduce((n, r) => n + (r.tags as string[]).length, 0);
}

console.log("before");
console.error("stderr before");
const rows: Row[] = [{ id: 1, tags: ["a"] }, { id: 2 }];
console.log(total(rows));
console.log("never");
