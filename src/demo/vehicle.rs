//! Made-up but plausible facts about a vehicle, the same ones every time for the same VIN.
//!
//! What a VIN really says (maker and model year, ISO 3779 and 49 CFR 565) is read from it; the rest comes from a hash.

use serde_json::{Value, json};

const MAKERS: [(&str, &str, &[&str]); 10] = [
    ("1HG", "Honda", &["Accord", "Civic"]),
    ("JHM", "Honda", &["Jazz", "CR-V"]),
    ("1FA", "Ford", &["Mustang", "Focus"]),
    ("1G1", "Chevrolet", &["Malibu", "Impala"]),
    ("2T1", "Toyota", &["Corolla", "Matrix"]),
    ("5YJ", "Tesla", &["Model S", "Model 3"]),
    ("WBA", "BMW", &["320i", "530d"]),
    ("WDB", "Mercedes-Benz", &["C 200", "E 220"]),
    ("WVW", "Volkswagen", &["Golf", "Passat"]),
    ("YV1", "Volvo", &["V60", "XC60"]),
];
const OTHERS: [&str; 4] = ["Sedan", "Estate", "Hatchback", "Pick-up"];
const COLOURS: [&str; 6] = ["black", "white", "silver", "blue", "red", "green"];
const LENDERS: [&str; 4] = [
    "First Harbor Bank",
    "Prairie Credit Union",
    "Northgate Auto Finance",
    "Citizens Trust",
];
const PLACES: [&str; 5] = ["OH", "TX", "CA", "NY", "WA"];
const EVENTS: [&str; 5] = [
    "service",
    "inspection",
    "ownership_transfer",
    "odometer_reading",
    "accident_reported",
];

/// The codes of model years, from 1980 (or 2010) on.
const YEARS: &[u8] = b"ABCDEFGHJKLMNPRSTVWXY123456789";

/// A vehicle identification number.
#[derive(Debug, Clone, Copy)]
pub struct Vin<'a>(&'a str);

impl<'a> Vin<'a> {
    /// 17 characters of `0`–`9` and `A`–`Z` without `I`, `O` and `Q`; the check digit is not verified.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Vin<'a>> {
        let known = |byte| matches!(byte, b'0'..=b'9' | b'A'..=b'H' | b'J'..=b'N' | b'P' | b'R'..=b'Z');
        (text.len() == 17 && text.bytes().all(known)).then_some(Vin(text))
    }

    /// The VIN as written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// What it is.
    #[must_use]
    pub fn vehicle(self) -> Value {
        let mut dice = self.dice("vehicle");
        let maker = MAKERS.iter().find(|(prefix, _, _)| self.0.starts_with(prefix));
        let (make, models) = maker.map_or(("Unlisted maker", &OTHERS[..]), |(_, make, models)| {
            (*make, *models)
        });
        json!({
            "vin": self.0,
            "make": make,
            "model": dice.pick(models),
            "model_year": self.year(),
            "colour": dice.pick(&COLOURS),
            "registered_in": dice.pick(&PLACES),
        })
    }

    /// Who has a claim on it: none to two liens.
    #[must_use]
    pub fn liens(self) -> Value {
        let mut dice = self.dice("liens");
        let count = dice.below(3);
        let liens = (0..count).map(|_| {
            json!({
                "lien_id": format!("L-{:06}", dice.below(1_000_000)),
                "lender": dice.pick(&LENDERS),
                "amount": {"currency": "USD", "value": 500 * (4 + dice.below(60))},
                "filed": dice.date(self.year()),
                "jurisdiction": dice.pick(&PLACES),
                "status": dice.pick(&["active", "active", "released"]),
            })
        });
        json!({"vin": self.0, "liens": liens.collect::<Vec<Value>>()})
    }

    /// What happened to it, oldest first: three to six events.
    #[must_use]
    pub fn history(self) -> Value {
        let mut dice = self.dice("history");
        let mut events =
            vec![json!({"date": dice.date(self.year()), "event": "first_registration", "km": 12})];
        let mut km = 12;
        for years in 1..=2 + dice.below(4) {
            km += 6_000 + dice.below(20_000);
            events.push(json!({
                "date": dice.date(self.year() + years),
                "event": dice.pick(&EVENTS),
                "km": km,
            }));
        }
        json!({"vin": self.0, "events": events})
    }

    /// The tenth character; a letter in the seventh puts the year into the cycle that began in 2010. 0 if it is no code.
    fn year(self) -> u32 {
        let code = self.0.as_bytes().get(9);
        let cycle = if self.0.as_bytes().get(6).is_some_and(u8::is_ascii_alphabetic) {
            2010
        } else {
            1980
        };
        let place = YEARS
            .iter()
            .position(|year| Some(year) == code)
            .and_then(|place| u32::try_from(place).ok());
        place.map_or(0, |place| cycle + place)
    }

    fn dice(self, subject: &str) -> Dice {
        // FNV-1a: spreads well enough, and is the same on every machine and in every version.
        let bytes = self.0.bytes().chain(subject.bytes());
        Dice(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

/// A sequence of numbers that looks random (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    /// Less than `bound`; 0 if that is 0.
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The high bits are the good ones.
        let roll = (self.0 >> 33).checked_rem(u64::from(bound)).unwrap_or(0);
        u32::try_from(roll).unwrap_or(0)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let place = self.below(u32::try_from(from.len()).unwrap_or(0));
        usize::try_from(place)
            .ok()
            .and_then(|place| from.get(place))
            .copied()
            .unwrap_or_default()
    }

    /// A day of `year` that every month has.
    fn date(&mut self, year: u32) -> String {
        format!("{year:04}-{:02}-{:02}", 1 + self.below(12), 1 + self.below(28))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vin_says_maker_and_year_and_always_the_same() {
        let vin = Vin::parse("1HGCM82633A004352").unwrap();
        let vehicle = vin.vehicle();
        assert_eq!(
            (vehicle["make"].as_str(), vehicle["model_year"].as_u64()),
            (Some("Honda"), Some(2003))
        );
        assert_eq!(vehicle, vin.vehicle());
        assert_eq!(vin.liens(), vin.liens());
        assert!(
            !vin.liens()["liens"].as_array().unwrap().is_empty(),
            "the printed example should show one"
        );
        let dates: Vec<String> = vin.history()["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["date"].to_string())
            .collect();
        assert!(dates.len() >= 4 && dates.is_sorted(), "{dates:?}");
    }

    #[test]
    fn a_letter_in_the_seventh_place_means_2010_or_later() {
        assert_eq!(
            Vin::parse("5YJ3E1EA7KF000316").unwrap().vehicle()["model_year"],
            2019
        );
    }

    #[test]
    fn what_cannot_be_a_vin_is_none() {
        for text in [
            "",
            "1HGCM82633A00435",
            "1HGCM82633A0043522",
            "1HGCM82633A00435I",
            "1hgcm82633a004352",
        ] {
            assert!(Vin::parse(text).is_none(), "{text}");
        }
    }
}
