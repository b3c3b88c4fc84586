// SPDX-License-Identifier: Apache-2.0
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead};
use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Num(f64),
    Name(String),
    Op(char),
}

#[derive(Debug)]
enum CalcError {
    Unexpected(char),
    Unknown(String),
    Early,
    DivideByZero,
}

impl fmt::Display for CalcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(c) => write!(f, "unexpected {c:?}"),
            Self::Unknown(n) => write!(f, "unknown name `{n}`"),
            Self::Early => f.write_str("unexpected end"),
            Self::DivideByZero => f.write_str("division by zero"),
        }
    }
}

impl std::error::Error for CalcError {}

fn number(chars: &mut Peekable<Chars>) -> f64 {
    let mut s = String::new();
    while let Some(&c) = chars.peek() {
        if !(c.is_ascii_digit() || c == '.') {
            break;
        }
        s.push(c);
        chars.next();
    }
    s.parse().unwrap_or(f64::NAN)
}

fn tokens(line: &str) -> Result<Vec<Token>, CalcError> {
    let mut out = vec![];
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            ' ' => {
                chars.next();
            }
            '0'..='9' => out.push(Token::Num(number(&mut chars))),
            'a'..='z' => {
                let mut name = String::new();
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric()) {
                    name.push(c);
                }
                out.push(Token::Name(name));
            }
            '+' | '-' | '*' | '/' | '(' | ')' | '^' | '=' => {
                out.push(Token::Op(c));
                chars.next();
            }
            other => return Err(CalcError::Unexpected(other)),
        }
    }
    Ok(out)
}

struct Parser<'a> {
    tokens: &'a [Token],
    names: &'a HashMap<String, f64>,
}

impl Parser<'_> {
    fn op(&mut self, wanted: &str) -> Option<char> {
        if let [Token::Op(c), rest @ ..] = self.tokens
            && wanted.contains(*c)
        {
            self.tokens = rest;
            return Some(*c);
        }
        None
    }

    fn sum(&mut self) -> Result<f64, CalcError> {
        let mut v = self.product()?;
        while let Some(c) = self.op("+-") {
            let r = self.product()?;
            v = if c == '+' { v + r } else { v - r };
        }
        Ok(v)
    }

    fn product(&mut self) -> Result<f64, CalcError> {
        let mut v = self.power()?;
        while let Some(c) = self.op("*/") {
            let r = self.power()?;
            if c == '/' && r == 0.0 {
                return Err(CalcError::DivideByZero);
            }
            v = if c == '*' { v * r } else { v / r };
        }
        Ok(v)
    }

    fn power(&mut self) -> Result<f64, CalcError> {
        let base = self.atom()?;
        if self.op("^").is_some() { Ok(base.powf(self.power()?)) } else { Ok(base) }
    }

    fn atom(&mut self) -> Result<f64, CalcError> {
        let (first, rest) = self.tokens.split_first().ok_or(CalcError::Early)?;
        self.tokens = rest;
        match first {
            Token::Num(n) => Ok(*n),
            Token::Name(n) => self.names.get(n).copied().ok_or_else(|| CalcError::Unknown(n.clone())),
            Token::Op('-') => Ok(-self.atom()?),
            Token::Op('(') => {
                let v = self.sum()?;
                self.op(")").ok_or(CalcError::Early)?;
                Ok(v)
            }
            Token::Op(c) => Err(CalcError::Unexpected(*c)),
        }
    }
}

fn evaluate(line: &str, names: &mut HashMap<String, f64>) -> Result<f64, Box<dyn std::error::Error>> {
    let tokens = tokens(line)?;
    let (target, body) = match tokens.as_slice() {
        [Token::Name(n), Token::Op('='), body @ ..] => (Some(n.clone()), body),
        body => (None, body),
    };
    let v = Parser { tokens: body, names }.sum()?;
    if let Some(n) = target {
        names.insert(n, v);
    }
    Ok(v)
}

fn main() -> io::Result<()> {
    let mut names = HashMap::from([("pi".to_string(), std::f64::consts::PI)]);
    let mut bad = 0;
    for (i, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        match evaluate(&line, &mut names) {
            Ok(v) => println!("{line:<20} = {v}"),
            Err(e) => {
                bad += 1;
                eprintln!("line {}: {e}", i + 1);
            }
        }
    }
    std::process::exit(bad)
}
