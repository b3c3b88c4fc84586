// SPDX-License-Identifier: Apache-2.0
use std::io::Write;

fn main() {
    println!("a full line is written");
    print!("half a line is flushed by hand");
    std::io::stdout().flush().unwrap();
    eprintln!("stderr is not buffered");
    std::process::abort();
}
