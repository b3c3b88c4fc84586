// SPDX-License-Identifier: Apache-2.0
// The stack runs over: Rust's handler says so and aborts.
fn depth(n: u64) -> u64 {
    let pad = [n; 512];
    std::hint::black_box(&pad);
    if n == u64::MAX { 0 } else { 1 + depth(n + 1) + pad[(n % 512) as usize] }
}

fn main() {
    println!("going down");
    println!("{}", depth(std::hint::black_box(0)));
}
