// SPDX-License-Identifier: Apache-2.0
use std::io::{self, BufWriter, Write};

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut x = 12345u32;
    for i in 0..5400 {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        writeln!(out, "{i:06} {x:08x} {:·<w$}", "", w = i % 23)?;
    }
    out.flush()?;
    for i in 0..300 {
        eprintln!("stderr line {i:04} {}", "-".repeat(i % 50));
    }
    Ok(())
}
