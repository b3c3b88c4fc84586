// SPDX-License-Identifier: Apache-2.0
use std::sync::mpsc;

fn main() {
    print!("unflushed text is flushed by exit; ");
    let (tx, rx) = mpsc::channel::<i32>();
    let t = std::thread::spawn(move || {
        let code = rx.recv().unwrap();
        println!("leaving from a thread with {code}");
        std::process::exit(code);
    });
    tx.send(5).unwrap();
    t.join().unwrap();
    println!("never");
}
