// SPDX-License-Identifier: Apache-2.0
console.log("late module loads once");
export default (n: number): number => n * 7;
