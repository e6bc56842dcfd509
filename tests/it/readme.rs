//! What the README shows is what happens.

use std::path::{Path, PathBuf};

use crate::support::gateway::binary;
use crate::support::{Authority, Folder};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

/// The fenced block that starts so.
fn block<'a>(readme: &'a str, start: &str) -> &'a str {
    let (_, after) = readme
        .split_once(start)
        .unwrap_or_else(|| panic!("no block {start}"));
    after.split_once("```").unwrap().0
}

#[test]
fn the_explained_request_is_decided_as_shown() {
    let readme = readme();
    let (folder, authority) = (Folder::new(), Authority::new());
    authority.install(&folder, "certs", &["localhost"]);
    let request = folder.write("request.yaml", block(&readme, "```yaml\n"));
    let output = binary()
        .current_dir(ROOT)
        .args(["explain", "-c", "conf/minimal.yaml", "-r", &request])
        .env("DURWARD_CERTS", folder.0.join("certs"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, block(&readme, "-r request.yaml\n"));
}

#[test]
fn every_file_that_is_named_exists() {
    for (at, _) in readme().match_indices("](") {
        let readme = readme();
        let target = readme[at + 2..].split(')').next().unwrap();
        let is_file = !target.contains("://") && !target.starts_with('#');
        assert!(!is_file || Path::new(ROOT).join(target).exists(), "{target}");
    }
}

/// A feature that is listed is one that a test cites.
#[test]
fn every_requirement_in_the_table_is_cited_by_a_test() {
    let readme = readme();
    let (_, table) = readme.split_once("| what | ids |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: Vec<&str> = rows
        .flat_map(|row| row.rsplit('|').nth(1).unwrap().split(','))
        .map(str::trim)
        .collect();
    assert!(listed.len() > 15, "{listed:?}");
    let mut cited = Vec::new();
    for folder in ["src", "tests"] {
        cite(&Path::new(ROOT).join(folder), &mut cited);
    }
    for id in listed {
        assert!(
            cited.iter().any(|known| known == id),
            "{id} is listed, and no test cites it"
        );
    }
}

/// Collects the ids of comments such as `// S49, U4` in all sources below a folder.
fn cite(folder: &Path, cited: &mut Vec<String>) {
    let entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    for path in entries {
        if path.is_dir() {
            cite(&path, cited);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("// ")) {
                let ids = line
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .split(',')
                    .map(|id| id.trim().to_owned());
                cited.extend(ids);
            }
        }
    }
}
