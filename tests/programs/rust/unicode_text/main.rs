// SPDX-License-Identifier: Apache-2.0
use std::io::Read;

fn main() {
    let samples = ["e\u{301}", "é", "👩‍👩‍👧‍👦", "🇨🇭", "שלום עולם", "مرحبا", "Straße", "İstanbul", "ﬁne", "日本語", "𝔘𝔫𝔦", "\u{200f}RTL", "नमस्ते"];
    for s in samples {
        println!("{s}|{}|{}|{}|{}|{}|{:?}", s.len(), s.chars().count(), s.encode_utf16().count(), s.to_uppercase(), s.to_lowercase(), s.chars().next_back());
    }
    let text = "naïve café 🙂";
    println!("{:?} {:?} {:?}", text.char_indices().nth(3), text.find('é'), text.get(2..3));
    println!("{:>8}|{:^8}|{:<8}|{:*^9}", "é", "日本", "🙂", "שלום");
    println!("{} {:?} {}", text.escape_unicode().take(14).collect::<String>(), "tab\t\u{7}\u{202e}\u{301}", "é\n".escape_default());
    println!("{:?} {:?}", std::str::from_utf8(b"ok\xff\xfe"), std::str::from_utf8(&[0xe9, 0x28]).map_err(|e| e.valid_up_to()));
    println!("{}", String::from_utf8_lossy(b"a\xf0\x9f\x98b") == "a\u{fffd}b");
    println!("{:?} {:?}", char::from_u32(0xd800), String::from_utf16(&[0xd83d, 0xde42, 0x20]));
    println!("{:?}", 'ß'.to_uppercase().collect::<Vec<_>>());
    println!("{:?}", text.split(|c: char| !c.is_alphanumeric()).map(|w| w.chars().rev().collect::<String>()).collect::<Vec<_>>());
    let mut words = vec!["zebra", "Äpfel", "apfel", "Zoo", "éclair"];
    words.sort_unstable();
    println!("{words:?} {:?}", "x١٢".chars().map(|c| (c.is_numeric(), c.to_digit(10))).collect::<Vec<_>>());
    let mut stdin = String::new();
    std::io::stdin().read_to_string(&mut stdin).unwrap();
    println!("{stdin:?} {}", stdin.trim());
    std::fs::write("файл 🦀.txt", "содержимое").unwrap();
    println!("{}", std::fs::read_to_string("файл 🦀.txt").unwrap());
    let größe = 3;
    eprintln!("stderr ✗ {größe}");
    panic!("паника 🔥 שגיאה");
}
