//! Which parts of a configuration file must not be repeated in a message.
//!
//! Decided by the names of keys alone. It errs on the side of silence: a hidden value costs a look into the file, a
//! shown one costs a rotation.

use std::ops::Range;

use strsim::osa_distance;

/// Words that make a key's value secret, wherever they stand in the key (`api_key`, `clientSecret`, `tokens`).
const WORDS: [&str; 7] = [
    "secret",
    "key",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
];

/// Whether the value below a key of this name must not be shown.
pub(super) fn looks_secret(key: &str) -> bool {
    words(key).iter().any(|word| {
        let word = word.strip_suffix('s').unwrap_or(word);
        // A misspelt `pasword` is an unknown key, and holds the same thing.
        WORDS
            .iter()
            .any(|secret| word == *secret || (secret.len() > 4 && osa_distance(word, secret) <= 1))
            || ["apikey", "privatekey", "secretkey"].contains(&word)
    })
}

/// Whether the text only points at a secret (`${env:NAME}`), so that showing it gives nothing away.
pub(super) fn is_reference(value: &str) -> bool {
    let inner = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| {
        ["env:", "file:", "sealed:", "vault:", "aws-sm:", "pkcs11:"]
            .iter()
            .any(|kind| inner.starts_with(kind))
            && !inner.contains(['{', '}', '$'])
            && !inner.contains(":-")
    })
}

fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in key.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = c.is_lowercase() || c.is_numeric();
        if let Some(word) = words.last_mut()
            && c.is_alphanumeric()
        {
            word.extend(c.to_lowercase());
        }
    }
    words
}

/// What to hide in text that is not valid YAML, in bytes: all that follows a secret-looking key on its line, and the
/// lines indented below it. Without a tree this is a guess, and hides more than needed.
pub(super) fn guess(text: &str) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let mut below: Option<usize> = None;
    let mut start = 0;
    for line in text.split_inclusive(['\n', '\r']) {
        let end = start + line.len();
        let content = line.trim();
        let indent = line.len() - line.trim_start_matches(' ').len();
        if !content.is_empty() {
            let item = content.starts_with('-');
            below = below.filter(|secret| indent > *secret || (indent == *secret && item));
            if below.is_some() {
                hidden.push(start + indent..end);
            } else if let Some(colon) = secret_colon(line) {
                hidden.push(start + colon..end);
                below = Some(line.len() - line.trim_start_matches([' ', '-']).len());
            }
        }
        start = end;
    }
    hidden
}

/// The byte behind the `:` of the first secret-looking key in the line.
fn secret_colon(line: &str) -> Option<usize> {
    line.match_indices(':').find_map(|(at, _)| {
        let before = line.get(..at)?.trim_end_matches([' ', '"', '\'']);
        let word = before
            .rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .next()?;
        looks_secret(word).then_some(at + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names_are_recognised_as_words() {
        for key in [
            "secret",
            "api_key",
            "clientSecret",
            "TOKEN",
            "tokens",
            "db.password",
            "pasword",
            "apikey",
            "hmac-keys",
        ] {
            assert!(looks_secret(key), "{key}");
        }
        for key in ["monkey", "jwks", "keyed", "path", "", "tokenizer", "passes"] {
            assert!(!looks_secret(key), "{key}");
        }
    }

    #[test]
    fn only_a_bare_reference_may_be_shown() {
        for reference in [
            "${env:NAME}",
            "${file:/run/x}",
            "${sealed:x}",
            "${vault:x#y}",
            "${aws-sm:x}",
            "${pkcs11:object=x}",
        ] {
            assert!(is_reference(reference), "{reference}");
        }
        for value in [
            "hunter2",
            "${env:X:-hunter2}",
            "hunter2${env:X}",
            "${env:X}${env:Y}",
            "${other:x}",
        ] {
            assert!(!is_reference(value), "{value}");
        }
    }

    #[test]
    fn the_guess_covers_the_line_and_what_is_below() {
        let text = "a: 1\npassword: hunter2\nx:\n- key: |\n    PEM\n    PEM\n  user: me\nb: 2\nkeys:\n- abc\nc: {token: x, d: 1}\n";
        let mut shown = text.to_owned();
        for range in guess(text).into_iter().rev() {
            shown.replace_range(range, "#\n");
        }
        assert_eq!(
            shown,
            "a: 1\npassword:#\nx:\n- key:#\n    #\n    #\n  user: me\nb: 2\nkeys:#\n#\nc: {token:#\n"
        );
    }
}
