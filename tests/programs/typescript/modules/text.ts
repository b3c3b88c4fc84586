// SPDX-License-Identifier: Apache-2.0
export const titleCase = (s: string): string => s.replace(/\b\w/g, (c) => c.toUpperCase());
export function fail(): never {
  const nothing = undefined as unknown as { length: number };
  throw new TypeError(`failed in a module: ${nothing?.length}`);
}
if (import.meta.main) console.log("not printed");
