//! README shows what is in `examples/user_unit`, which `tests/system/user.rs` tries.

use std::fs;
use std::path::Path;

#[test]
fn readme_has_the_files_of_the_user_unit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for file in ["src/main.rs", "hello.socket", "hello.service"] {
        let text = fs::read_to_string(root.join("examples/user_unit").join(file)).unwrap();
        let indented: Vec<_> =
            text.lines().map(|line| if line.is_empty() { String::new() } else { format!("    {line}") }).collect();
        assert!(readme.contains(&format!("\n\n{}\n\n", indented.join("\n"))), "README has another {file}");
    }
}
