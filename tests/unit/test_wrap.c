// SPDX-License-Identifier: Apache-2.0
#include "sandbox/wrap.h"
#include "tap.h"

struct row {
    const char *code;
    bool has;
};

static const struct row rows[] = {
    {"fn main() {}", true},
    {"fn\n\tmain () {}", true},
    {"pub fn main() {}", true},
    {"async fn main() {}", true},
    {"fn fn main", true},
    {" println!(\"Hello, world\");", false},
    {"", false},
    {"// fn main() {}\nlet x = 1;", false},
    {"/* fn main /* nested */ fn main */ let x = 1;", false},
    {"let s = \"fn main\";", false},
    {"let s = \"\\\"fn main\";", false},
    {"let s = r#\"fn main \" fn main\"#;", false},
    {"let s = br\"fn main\";", false},
    {"let c = '\"'; fn main() {}", true},
    {"let c = '\\''; fn main() {}", true},
    {"fn f<'a>(x: &'a str) {} fn main() {}", true},
    {"fn mainly() {}", false},
    {"fn, main", false},
    {"domain fn_main", false},
    {"fn /* why */ main() {}", true},
    {"let s = \"unterminated fn main", false},
    {"let s = r#\"unterminated fn main\"", false},
    {"/* unterminated fn main", false},
    {"let c = 'é'; let s = \"fn main\";", false},
};

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CHECK_MSG(wrap_has_words(rows[i].code, strlen(rows[i].code), "fn main") == rows[i].has,
                  "row %zu", i);
    return tap_done();
}
