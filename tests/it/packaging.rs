//! What is shipped beside the binary fits it.

use std::path::Path;
use std::process::Command;

use crate::support::Folder;
use crate::support::gateway::binary;

fn shipped(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)).unwrap()
}

#[test]
fn the_commands_of_the_unit_and_of_the_image_are_ones() {
    let (unit, image) = (shipped("durward.service"), shipped("Containerfile"));
    let verbs = |text: &str, before: &str| -> Vec<String> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| {
                rest.split([' ', '"'])
                    .find(|word| word.chars().all(char::is_alphabetic) && !word.is_empty())
            })
            .map(str::to_owned)
            .collect()
    };
    let mut all = verbs(&unit, "=/usr/bin/durward ");
    assert_eq!(all, ["check", "run"]);
    all.extend(verbs(&image, "CMD [\"/usr/bin/durward\", \""));
    all.extend(verbs(&image, "\nCMD [\""));
    assert_eq!(all[2..], ["status", "run"]);
    for verb in all {
        let output = binary().args([&verb, "--help"]).output().unwrap();
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && help.contains("--config"),
            "{verb}: {help}"
        );
    }
}

/// Where systemd's own tool is at hand, it judges the unit.
#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_exposed() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        return;
    };
    assert!(version.status.success());
    let folder = Folder::new();
    let unit = shipped("durward.service").replace("/usr/bin/durward", env!("CARGO_BIN_EXE_durward"));
    let file = folder.write("durward.service", unit);
    let judge = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (good, said) = judge(&["verify", "--man=no"]);
    assert!(good && !said.contains("durward.service:"), "{said}");
    // 19 stands for 1.9
    let (good, said) = judge(&["security", "--offline=true", "--threshold=20"]);
    assert!(good, "{said}");
}
