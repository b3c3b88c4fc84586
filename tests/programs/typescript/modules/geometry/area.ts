// SPDX-License-Identifier: Apache-2.0
import type { Shape } from "./shapes.ts";

export function area(s: Shape): number {
  return s.kind === "circle" ? Math.PI * s.r ** 2 : s.w * s.h;
}
