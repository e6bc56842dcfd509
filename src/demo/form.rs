//! `application/x-www-form-urlencoded`, as the token endpoint needs it.

/// The fields of a form, each at most once (RFC 6749 section 3.2: parameters must not be repeated).
#[derive(Debug)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads a body; `None` if a name is repeated or the text is not percent-encoded UTF-8.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Form> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if fields.iter().any(|(known, _)| *known == name) {
                return None;
            }
            fields.push((name, value));
        }
        Some(Form { fields })
    }

    /// The value of a field; one without a value counts as absent (RFC 6749 section 3.2).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value)
    }
}

/// Undoes the encoding of one name or value: `+` is a space, `%` takes two hexadecimal digits.
#[must_use]
pub fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = text.iter().copied();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_empty_ones_are_absent() {
        let form = Form::parse(b"scope=read%3Avehicle+read%3aliens&empty=&bare&a=b=c").unwrap();
        assert_eq!(form.field("scope"), Some("read:vehicle read:liens"));
        assert_eq!(form.field("empty"), None);
        assert_eq!(form.field("bare"), None);
        assert_eq!(form.field("a"), Some("b=c"));
        assert_eq!(form.field("missing"), None);
    }

    #[test]
    fn repeated_names_and_broken_encodings_are_refused() {
        for body in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%+1", "a=%ff", "a=1&%61=2"] {
            assert!(Form::parse(body.as_bytes()).is_none(), "{body}");
        }
    }
}
