// SPDX-License-Identifier: Apache-2.0
use std::panic;

fn checked(n: u32) -> u32 {
    assert_ne!(n, 3, "three is not {}", "welcome");
    100 / (n - 1)
}

fn main() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}:{}", l.file(), l.line(), l.column())).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("?");
        println!("hook at {place}: {}", what.replace('\n', " / "));
    }));
    for n in [2, 1, 3, 0] {
        match panic::catch_unwind(|| checked(n)) {
            Ok(v) => println!("{n} -> {v}"),
            Err(e) => println!("{n} -> panic with a {}", if e.is::<String>() { "String" } else { "&str" }),
        }
    }
    let r = panic::catch_unwind(|| panic::panic_any(42u8));
    println!("{:?}", r.unwrap_err().downcast::<u8>());
    let t = std::thread::spawn(|| unreachable!("in a thread"));
    println!("{}", t.join().is_err());
    todo!("the rest");
}
