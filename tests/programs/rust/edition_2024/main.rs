// SPDX-License-Identifier: Apache-2.0
// Let chains, gen as a reserved word, unsafe extern, tail temporaries, precise capturing, async closures.
use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

unsafe extern "C" {
    safe fn abs(n: i32) -> i32;
}

#[unsafe(no_mangle)]
pub extern "C" fn exported(n: i32) -> i32 {
    n + 1
}

fn describe(x: Option<&str>) -> String {
    if let Some(s) = x
        && let Ok(n) = s.parse::<i32>()
        && n > 10
    {
        format!("big {n}")
    } else if let Some(s) = x
        && let [first, .., last] = s.as_bytes()
        && first == last
    {
        format!("framed {s}")
    } else {
        "other".into()
    }
}

struct Loud(&'static str);

impl Drop for Loud {
    fn drop(&mut self) {
        println!("drop {}", self.0);
    }
}

impl Loud {
    fn len(&self) -> usize {
        self.0.len()
    }
}

fn tail() -> usize {
    let _local = Loud("local");
    Loud("temporary of the tail").len()
}

fn evens<'a>(v: &'a [i32]) -> impl Iterator<Item = i32> + use<'a> {
    v.iter().copied().filter(|n| n % 2 == 0)
}

fn block_on<F: Future>(f: F) -> F::Output {
    let mut f = pin!(f);
    loop {
        if let Poll::Ready(v) = f.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return v;
        }
    }
}

struct Yield(bool);

impl Future for Yield {
    type Output = &'static str;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.0, true) {
            Poll::Ready("yielded")
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

async fn twice(f: impl AsyncFn(u32) -> u32) -> u32 {
    f(f(1).await).await
}

fn main() {
    for x in [Some("42"), Some("7"), Some("abba"), None] {
        println!("{}", describe(x));
    }
    println!("{} {}", abs(-5), exported(1));
    println!("{}", tail());
    if let 3 = Loud("if").len() {
        println!("not reached");
    } else {
        println!("else: the condition's temporary is gone");
    }
    println!("{:?}", evens(&[1, 2, 3, 4]).collect::<Vec<_>>());
    let base = RefCell::new(0);
    let r#gen = async |n: u32| {
        *base.borrow_mut() += 1;
        Yield(false).await;
        n * 10
    };
    println!("{} after {} calls", block_on(twice(&r#gen)), base.borrow());
    let boxed: Box<[String]> = ["into", "iter"].map(String::from).into();
    for s in boxed {
        print!("{} ", s + "!");
    }
    println!();
}
