// SPDX-License-Identifier: Apache-2.0
export const upper = (s) => s.toLocaleUpperCase("tr");
