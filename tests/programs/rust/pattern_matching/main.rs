// SPDX-License-Identifier: Apache-2.0
#[derive(Debug, Clone)]
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self) {
        let trimmed = self.rest.trim_start();
        self.line += self.rest[..self.rest.len() - trimmed.len()].matches('\n').count();
        self.rest = trimmed;
    }

    fn eat(&mut self, s: &str) -> bool {
        self.skip();
        self.rest.strip_prefix(s).map(|r| self.rest = r).is_some()
    }

    fn fail<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("line {}: expected {what}, found {:?}", self.line, self.rest.chars().next()))
    }

    fn text(&mut self) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[i + 1..];
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 'u')) => {
                        let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        out.push(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
                    }
                    Some((_, c @ ('"' | '\\' | '/'))) => out.push(c),
                    other => return Err(format!("bad escape {other:?}")),
                },
                c if (c as u32) < 0x20 => return self.fail("no control character"),
                c => out.push(c),
            }
        }
        Err("unterminated string".into())
    }

    fn value(&mut self) -> Result<Json, String> {
        self.skip();
        match self.rest.as_bytes() {
            [b'{', ..] => {
                self.eat("{");
                let mut pairs = vec![];
                while !self.eat("}") {
                    if !pairs.is_empty() && !self.eat(",") {
                        return self.fail("',' or '}'");
                    }
                    if !self.eat("\"") {
                        return self.fail("a key");
                    }
                    let key = self.text()?;
                    if !self.eat(":") {
                        return self.fail("':'");
                    }
                    pairs.push((key, self.value()?));
                }
                Ok(Json::Object(pairs))
            }
            [b'[', ..] => {
                self.eat("[");
                let mut items = vec![];
                while !self.eat("]") {
                    if !items.is_empty() && !self.eat(",") {
                        return self.fail("',' or ']'");
                    }
                    items.push(self.value()?);
                }
                Ok(Json::List(items))
            }
            [b'"', ..] => {
                self.rest = &self.rest[1..];
                self.text().map(Json::Text)
            }
            [b'-' | b'0'..=b'9', ..] => {
                let end = self.rest.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | 'e' | 'E')).unwrap_or(self.rest.len());
                let (number, rest) = self.rest.split_at(end);
                self.rest = rest;
                number.parse().map(Json::Number).map_err(|e| format!("{number}: {e}"))
            }
            _ if self.eat("null") => Ok(Json::Null),
            _ if self.eat("true") => Ok(Json::Bool(true)),
            _ if self.eat("false") => Ok(Json::Bool(false)),
            _ => self.fail("a value"),
        }
    }
}

fn summary(j: &Json) -> String {
    match j {
        Json::Null => "nothing".into(),
        Json::Bool(true) => "yes".into(),
        Json::Bool(false) => "no".into(),
        Json::Number(n @ 0.0..=9.0) if n.fract() == 0.0 => format!("digit {n}"),
        Json::Number(n) if *n < 0.0 => format!("negative {}", n.abs()),
        Json::Number(n) => format!("number {n}"),
        Json::Text(s) if s.is_empty() => "empty text".into(),
        Json::Text(s) => format!("text {s:?}"),
        Json::List(v) => match v.as_slice() {
            [] => "empty list".into(),
            [only] => format!("just {}", summary(only)),
            [first, middle @ .., last] => format!("from {} to {} with {} between", summary(first), summary(last), middle.len()),
        },
        Json::Object(pairs) => pairs.iter().map(|(k, v)| format!("{k}={}", summary(v))).collect::<Vec<_>>().join("; "),
    }
}

fn main() {
    let stdin = std::io::read_to_string(std::io::stdin()).unwrap();
    for doc in stdin.split("---\n") {
        let mut r = Reader { rest: doc, line: 1 };
        let parsed = r.value().and_then(|v| {
            r.skip();
            if r.rest.is_empty() { Ok(v) } else { r.fail("the end") }
        });
        match parsed {
            Ok(ref v @ (Json::Object(_) | Json::List(_))) => println!("{}\n  {v:?}", summary(v)),
            Ok(v) => println!("scalar {}", summary(&v)),
            Err(e) => println!("error: {e}"),
        }
    }
}
