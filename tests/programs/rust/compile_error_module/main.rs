// SPDX-License-Identifier: Apache-2.0
mod broken;

fn main() {
    println!("{}", broken::twice(4));
}
