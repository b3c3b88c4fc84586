// SPDX-License-Identifier: Apache-2.0
let words = ["no", "main", "here"];
fn shout(s: &str) -> String {
    s.to_uppercase() + "!"
}
struct Tally(usize);
impl std::ops::AddAssign<usize> for Tally {
    fn add_assign(&mut self, n: usize) {
        self.0 += n;
    }
}
let mut tally = Tally(0);
for w in words {
    tally += w.chars().count();
    println!("{}", shout(w));
}
println!("{} letters", tally.0);
if tally.0 > 3 {
    std::process::exit(6);
}
