//! "Did you mean": the nearest name among those that would have been accepted.

use strsim::osa_distance;

/// The longest list of accepted names that a help line still prints.
const LISTED: usize = 12;

/// The accepted name nearest to `written`, if one is near enough to be what was meant.
///
/// Case, `-` and `_` do not count; otherwise a third of the letters may differ, and at least one.
pub(crate) fn nearest<'a>(written: &str, accepted: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(written);
    let allowance = (folded.chars().count() / 3).max(1);
    accepted
        .into_iter()
        .map(|name| (osa_distance(&folded, &fold(name)), name))
        .filter(|(distance, name)| *distance <= allowance && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The help line below an unknown name: the nearest one, else all of them (`noun` says what they are).
pub(super) fn help(noun: &str, nearest: Option<&str>, accepted: &[&str]) -> Option<String> {
    if let Some(name) = nearest {
        return Some(format!("did you mean `{name}`?"));
    }
    (1..=LISTED)
        .contains(&accepted.len())
        .then(|| format!("{noun}: {}", accepted.join(", ")))
}

fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let accepted = ["match", "methods", "max_body", "upstream"];
        assert_eq!(nearest("mathc", accepted), Some("match"));
        assert_eq!(nearest("maxBody", accepted), Some("max_body"));
        assert_eq!(nearest("upstreams", accepted), Some("upstream"));
        assert_eq!(nearest("colour", accepted), None);
        assert_eq!(nearest("x", ["y"]), None, "a name may not be replaced as a whole");
    }

    #[test]
    fn a_short_list_is_shown_where_nothing_is_near() {
        assert_eq!(
            help("allowed keys", None, &["a", "b"]).as_deref(),
            Some("allowed keys: a, b")
        );
        assert_eq!(help("allowed keys", None, &["x"; 13]), None);
        assert_eq!(help("allowed keys", None, &[]), None);
    }
}
