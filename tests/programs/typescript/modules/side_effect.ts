// SPDX-License-Identifier: Apache-2.0
(globalThis as Record<string, unknown>).fromSideEffect = "set on import";
