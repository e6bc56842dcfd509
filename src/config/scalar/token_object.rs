//! Objects in a PKCS#11 token, named by the attributes of RFC 7512: `object=LABEL;id=%01;type=private`.

use std::fmt;

use super::text::Malformed;

/// What an object is, and with that what a reference to it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectType {
    /// A data object: its text.
    Data,
    /// A secret key that may be extracted: its bytes, in base64.
    SecretKey,
    /// A private key, which stays where it is: what stands for it wherever a private key in PEM is asked for.
    Private,
}

impl ObjectType {
    const ALL: [ObjectType; 3] = [ObjectType::Data, ObjectType::SecretKey, ObjectType::Private];

    /// As RFC 7512 section 2.3 calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ObjectType::Data => "data",
            ObjectType::SecretKey => "secret-key",
            ObjectType::Private => "private",
        }
    }
}

/// Which object: by its label, its identifier, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenObject {
    /// `CKA_LABEL`
    pub label: Option<String>,
    /// `CKA_ID`
    pub id: Option<Vec<u8>>,
    /// `CKA_CLASS`
    pub class: ObjectType,
}

const SYNTAX: Malformed = Malformed(
    "write `${pkcs11:object=LABEL}`, with `;type=secret-key` or `;type=private` for keys, and `;id=%01` for an identifier",
);

impl TokenObject {
    /// Reads what follows `pkcs11:`.
    pub(super) fn read(path: &str) -> Result<TokenObject, Malformed> {
        let (mut label, mut id, mut class) = (None, None, None);
        for attribute in path.split(';') {
            let (name, value) = attribute.split_once('=').ok_or(SYNTAX)?;
            let bytes = decoded(value).filter(|bytes| !bytes.is_empty()).ok_or(SYNTAX)?;
            let is_new = match name {
                "object" => label
                    .replace(String::from_utf8(bytes).map_err(|_| SYNTAX)?)
                    .is_none(),
                "id" => id.replace(bytes).is_none(),
                "type" => {
                    let known = ObjectType::ALL.into_iter().find(|class| class.word() == value);
                    class.replace(known.ok_or(SYNTAX)?).is_none()
                }
                _ => false,
            };
            if !is_new {
                return Err(SYNTAX);
            }
        }
        if label.is_none() && id.is_none() {
            return Err(SYNTAX);
        }
        Ok(TokenObject {
            label,
            id,
            class: class.unwrap_or(ObjectType::Data),
        })
    }
}

impl fmt::Display for TokenObject {
    /// The path of its URI, without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            write!(f, "object={};", encoded(label.as_bytes()))?;
        }
        if let Some(id) = &self.id {
            write!(f, "id={};", encoded(id))?;
        }
        write!(f, "type={}", self.class.word())
    }
}

/// Letters, digits and `-._~` stay, all else is `%` and two hexadecimal digits (RFC 3986 section 2.1).
#[must_use]
pub fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?].map(|digit| char::from(digit).to_digit(16));
                let [Some(high), Some(low)] = digits else {
                    return None;
                };
                u8::try_from(high * 16 + low).ok()?
            }
            byte if byte.is_ascii_alphanumeric() || b"-._~:@!'()*+,=&/ ".contains(&byte) => byte,
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_label_identifier_or_both() {
        for (written, shown) in [
            ("object=client-secret", "object=client-secret;type=data"),
            ("object=a%20b;type=secret-key", "object=a%20b;type=secret-key"),
            ("id=%01%fF;type=private", "id=%01%FF;type=private"),
            ("type=private;id=%01;object=tls", "object=tls;id=%01;type=private"),
        ] {
            let object = TokenObject::read(written).unwrap();
            assert_eq!(object.to_string(), shown);
            assert_eq!(TokenObject::read(shown).unwrap(), object);
        }
        for wrong in [
            "",
            "tls",
            "object=",
            "type=private",
            "object=a;object=b",
            "object=a;type=cert",
            "object=a;pin-value=1234",
            "object=%4",
            "object=%zz",
            "object=%ff",
            "object=a?b",
        ] {
            TokenObject::read(wrong).unwrap_err();
        }
    }
}
