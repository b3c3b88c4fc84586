// SPDX-License-Identifier: Apache-2.0
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn walk(dir: &Path, depth: usize, out: &mut Vec<String>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(|e| e.file_name());
    for e in entries {
        let kind = e.file_type()?;
        let mark = if kind.is_dir() { "/" } else if kind.is_symlink() { "@" } else { "" };
        out.push(format!("{}{}{mark}", "  ".repeat(depth), e.file_name().to_string_lossy()));
        if kind.is_dir() {
            walk(&e.path(), depth + 1, out)?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    fs::create_dir_all("tree/a/b")?;
    fs::write("tree/a/one.txt", "first\nsecond\n")?;
    OpenOptions::new().append(true).open("tree/a/one.txt")?.write_all("dritte ü\n".as_bytes())?;
    fs::copy("tree/a/one.txt", "tree/a/b/copy.txt")?;
    symlink("a/one.txt", "tree/link")?;
    fs::hard_link("tree/a/one.txt", "tree/hard")?;
    fs::set_permissions("tree/a/b/copy.txt", fs::Permissions::from_mode(0o440))?;
    fs::rename("tree/a/b/copy.txt", "tree/a/b/moved.txt")?;
    let mut out = vec![];
    walk(Path::new("tree"), 0, &mut out)?;
    println!("{}", out.join("\n"));
    let meta = fs::metadata("tree/hard")?;
    println!("{} {} {:o} {:?}", meta.len(), meta.nlink(), fs::metadata("tree/a/b/moved.txt")?.permissions().mode() & 0o777, fs::read_link("tree/link")?);
    let lines: Vec<_> = BufReader::new(File::open("tree/link")?).lines().collect::<Result<_, _>>()?;
    println!("{lines:?}");
    let mut f = File::options().read(true).write(true).create(true).truncate(true).open("/tmp/rust-test.bin")?;
    f.set_len(4096)?;
    f.seek(SeekFrom::Start(4090))?;
    f.write_all(b"0123456789")?;
    f.seek(SeekFrom::Current(-4))?;
    let mut rest = Vec::new();
    f.read_to_end(&mut rest)?;
    println!("{:?} {} {}", String::from_utf8_lossy(&rest), f.stream_position()?, f.metadata()?.len());
    fs::remove_file("/tmp/rust-test.bin")?;
    for (what, r) in [("absent", File::open("absent").map(drop)), ("mkdir", fs::create_dir("tree")), ("rmdir", fs::remove_dir("tree")), ("read", fs::read("tree").map(drop)), ("utf8", fs::write("x", [0xff]).and_then(|_| fs::read_to_string("x").map(drop)))] {
        let e = r.unwrap_err();
        println!("{what}: {:?} {e}", e.kind());
    }
    let p = PathBuf::from("/work/dir/file.tar.gz");
    println!("{:?} {:?} {:?} {:?}", p.file_stem(), p.extension(), p.parent(), p.with_extension("zip").strip_prefix("/work"));
    println!("{:?} {}", p.components().map(|c| c.as_os_str().len()).collect::<Vec<_>>(), Path::new("a/../b").join("/c").display());
    fs::remove_dir_all("tree")?;
    println!("{} {}", Path::new("tree").exists(), std::env::current_dir()? == fs::canonicalize(".")?);
    Ok(())
}
