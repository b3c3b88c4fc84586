// SPDX-License-Identifier: Apache-2.0
export type Shape = { kind: "circle"; r: number } | { kind: "rectangle"; w: number; h: number };
export const shapes: Shape[] = [{ kind: "circle", r: 2 }, { kind: "rectangle", w: 3, h: 4.5 }];
export { area } from "./area.ts";
