// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;

macro_rules! map {
    ($($k:expr => $v:expr),* $(,)?) => { BTreeMap::from([$(($k, $v)),*]) };
}

macro_rules! count {
    () => { 0usize };
    ($head:tt $($tail:tt)*) => { 1usize + count!($($tail)*) };
}

macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($field:ident : $ty:ty = $default:expr),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($field: $ty),* }
        impl Default for $name {
            fn default() -> Self { Self { $($field: $default),* } }
        }
        impl $name {
            const FIELDS: [&'static str; count!($($field)*)] = [$(stringify!($field)),*];
            $(fn $field(mut self, v: impl Into<$ty>) -> Self { self.$field = v.into(); self })*
        }
    };
}

record! {
    #[derive(Debug, Clone)]
    pub struct Server { host: String = "localhost".into(), port: u16 = 8080, tags: Vec<String> = vec![], }
}

macro_rules! calc {
    (eval $e:expr) => { println!("{} = {}", stringify!($e), $e) };
    (eval $e:expr, $(eval $es:expr),+) => {{ calc!(eval $e); calc!($(eval $es),+) }};
}

macro_rules! machine {
    ($name:ident { $($from:ident -> $to:ident on $event:literal),+ $(,)? }) => {
        fn $name(state: &str, event: char) -> Option<&'static str> {
            match (state, event) {
                $((stringify!($from), $event) => Some(stringify!($to)),)+
                _ => None,
            }
        }
    };
}

machine!(turnstile { locked -> unlocked on 'c', unlocked -> locked on 'p', unlocked -> unlocked on 'c' });

macro_rules! impl_area {
    ($($t:ident($($f:ident),+) => $e:expr;)+) => {
        $(struct $t { $($f: f64),+ } impl $t { fn area(&self) -> f64 { let Self { $($f),+ } = self; $e } })+
    };
}

impl_area! {
    Square(side) => side * side;
    Trapezoid(a, b, h) => (a + b) * h / 2.0;
}

macro_rules! hygienic {
    ($x:ident) => {{ let y = 10; $x + y }};
}

macro_rules! max {
    ($x:expr) => { $x };
    ($x:expr, $($rest:expr),+) => {{ let (a, b) = ($x, max!($($rest),+)); if a > b { a } else { b } }};
}

fn main() {
    println!("{:?} {}", map! {"one" => 1, "two" => 2}, count!(a b c d));
    println!("{:?} {:?}", Server::default().host("h\u{f6}st").port(443u16), Server::FIELDS);
    calc!(eval 1 + 2, eval (3 * 4) - 5, eval 2i32.pow(10));
    let mut state = "locked";
    for e in "pccpp".chars() {
        match turnstile(state, e) {
            Some(next) => state = next,
            None => println!("no move from {state} on {e:?}"),
        }
    }
    println!("{state} {} {}", Square { side: 1.5 }.area(), Trapezoid { a: 1.0, b: 2.0, h: 3.0 }.area());
    let y = 1;
    println!("{} {}", hygienic!(y), max!(3, 9, 4));
    println!("{} {} {:?}", line!(), column!(), option_env!("SURELY_NOT_SET_ANYWHERE"));
    debug_assert!(cfg!(debug_assertions) || true);
    assert_eq!(map! {1 => "a"}, map! {1 => "b"}, "maps of {} differ", stringify!(BTreeMap));
}
