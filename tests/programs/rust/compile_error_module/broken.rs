// SPDX-License-Identifier: Apache-2.0
pub fn twice(n: i32) -> i32 {
    let borrowed;
    {
        let inner = n * 2;
        borrowed = &inner;
    }
    *borrowed
}
