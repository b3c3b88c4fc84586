// SPDX-License-Identifier: Apache-2.0
// A byte code machine with an assembler: programs come from stdin.
use std::collections::HashMap;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    Push(i64),
    Load(usize),
    Store(usize),
    Add,
    Sub,
    Mul,
    Less,
    Jump(usize),
    Unless(usize),
    Call(usize),
    Return,
    Print,
    Halt,
}

#[derive(Debug)]
enum Fault {
    Underflow { at: usize },
    Budget(u32),
    BadLine(usize, String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Underflow { at } => write!(f, "stack underflow at {at}"),
            Fault::Budget(n) => write!(f, "no end after {n} steps"),
            Fault::BadLine(n, s) => write!(f, "line {n}: cannot assemble {s:?}"),
        }
    }
}

fn assemble(text: &str) -> Result<Vec<Op>, Fault> {
    let mut labels = HashMap::new();
    let mut lines = vec![];
    for (n, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or("").trim();
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, lines.len());
        } else if !line.is_empty() {
            lines.push((n + 1, line));
        }
    }
    lines
        .into_iter()
        .map(|(n, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let bad = || Fault::BadLine(n, line.to_string());
            let target = |l: &str| labels.get(l).copied().ok_or_else(bad);
            let slot = |s: &str| s.parse().map_err(|_| bad());
            Ok(match words[..] {
                ["push", v] => Op::Push(v.parse().map_err(|_| bad())?),
                ["load", s] => Op::Load(slot(s)?),
                ["store", s] => Op::Store(slot(s)?),
                ["jump", l] => Op::Jump(target(l)?),
                ["unless", l] => Op::Unless(target(l)?),
                ["call", l] => Op::Call(target(l)?),
                ["add"] => Op::Add,
                ["sub"] => Op::Sub,
                ["mul"] => Op::Mul,
                ["less"] => Op::Less,
                ["return"] => Op::Return,
                ["print"] => Op::Print,
                ["halt"] => Op::Halt,
                _ => return Err(bad()),
            })
        })
        .collect()
}

fn run(code: &[Op], budget: u32) -> Result<Vec<i64>, Fault> {
    let (mut stack, mut calls, mut memory, mut out) = (vec![], vec![], [0i64; 8], vec![]);
    let mut pc = 0;
    for _ in 0..budget {
        let at = pc;
        let pop = |stack: &mut Vec<i64>| stack.pop().ok_or(Fault::Underflow { at });
        pc += 1;
        match code[at] {
            Op::Push(v) => stack.push(v),
            Op::Load(s) => stack.push(memory[s]),
            Op::Store(s) => memory[s] = pop(&mut stack)?,
            op @ (Op::Add | Op::Sub | Op::Mul | Op::Less) => {
                let (b, a) = (pop(&mut stack)?, pop(&mut stack)?);
                stack.push(match op {
                    Op::Add => a.wrapping_add(b),
                    Op::Sub => a - b,
                    Op::Mul => a.wrapping_mul(b),
                    _ => i64::from(a < b),
                });
            }
            Op::Jump(t) => pc = t,
            Op::Unless(t) => {
                if pop(&mut stack)? == 0 {
                    pc = t;
                }
            }
            Op::Call(t) => {
                calls.push(pc);
                pc = t;
            }
            Op::Return => pc = calls.pop().ok_or(Fault::Underflow { at })?,
            Op::Print => out.push(pop(&mut stack)?),
            Op::Halt => return Ok(out),
        }
    }
    Err(Fault::Budget(budget))
}

fn main() {
    let text = std::io::read_to_string(std::io::stdin()).unwrap();
    let mut failed = 0;
    for (i, program) in text.split("===\n").enumerate() {
        match assemble(program).and_then(|code| run(&code, 5000)) {
            Ok(out) => println!("program {i}: {out:?}"),
            Err(e) => {
                failed += 1;
                println!("program {i}: {e} [{e:?}]");
            }
        }
    }
    if failed > 0 {
        std::process::exit(64 + failed);
    }
}
