// SPDX-License-Identifier: Apache-2.0
use std::process::Command;

fn main() {
    println!("a child ends us");
    let me = std::process::id().to_string();
    Command::new("sh").args(["-c", "kill -TERM $1", "sh", &me]).status().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(20));
}
