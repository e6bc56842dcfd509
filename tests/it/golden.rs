//! Texts that users read, kept word for word in `golden/`. `DURWARD_BLESS=1 cargo test` writes them anew, for `git diff`
//! to show what changed.

use std::path::PathBuf;

/// A file of the folder.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/golden")
        .join(name)
}

/// Compares a text with the one that is kept.
pub fn assert_same(name: &str, text: &str) {
    let path = path(name);
    if std::env::var_os("DURWARD_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, (kept, found))) = kept
        .lines()
        .zip(text.lines())
        .enumerate()
        .find(|(_, (kept, found))| kept != found)
    {
        panic!(
            "{name}:{}:\n  kept:  {kept}\n  found: {found}\nin\n{text}",
            line + 1
        );
    }
    assert_eq!(kept.len(), text.len(), "one of them goes on:\n{text}");
}
