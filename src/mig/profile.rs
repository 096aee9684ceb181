//! Names of GPU instance profiles in their two spellings.

use std::fmt;

/// A profile's name as `nvidia-smi` prints it: `1g.10gb`, `1g.10gb+me`, `1g.24gb-me`.
///
/// Well formed, which does not mean that any GPU offers it. As part of a resource name the device plugin
/// writes `.` for `+` (`mig-1g.10gb.me`); `-` stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(Box<str>);

impl ProfileName {
    /// Reads a name in either spelling; `None` when it does not have the form `<n>g.<m>gb[suffix]`.
    ///
    /// ```
    /// use tangram::mig::ProfileName;
    /// assert_eq!(ProfileName::parse("1g.24gb.me.all").unwrap().as_str(), "1g.24gb+me.all");
    /// assert_eq!(ProfileName::parse("1g.24gb-me").unwrap().resource(), "1g.24gb-me");
    /// assert_eq!(ProfileName::parse("huge"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        const LONGEST: usize = 32; // the longest known name has 14 bytes; a label value ends at 63
        if text.len() > LONGEST {
            return None;
        }
        let (compute, rest) = text.split_once("g.")?;
        let (memory, suffix) = rest.split_once("gb")?;
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(compute) || !is_number(memory) {
            return None;
        }
        if suffix.is_empty() {
            return Some(Self(text.into()));
        }
        let (sign, attribute) = suffix.split_at_checked(1)?;
        let is_attribute = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.')
        };
        if !is_attribute(attribute) {
            return None;
        }
        let sign = match sign {
            "+" | "." => '+',
            "-" => '-',
            _ => return None,
        };
        Some(Self(format!("{compute}g.{memory}gb{sign}{attribute}").into()))
    }

    /// The name as `nvidia-smi` prints it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands behind `mig-` in a resource name.
    pub fn resource(&self) -> String {
        self.0.replace('+', ".")
    }

    /// Whether the name carries an attribute such as `+me`: such a profile exists for special needs.
    pub fn has_attribute(&self) -> bool {
        !self.0.ends_with("gb")
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mig::MODELS;

    #[test]
    fn every_profile_of_the_table_survives_both_spellings() {
        for profile in MODELS.iter().flat_map(|model| model.profiles) {
            let name = ProfileName::parse(profile.name).expect(profile.name);
            assert_eq!(name.as_str(), profile.name);
            assert_eq!(ProfileName::parse(&name.resource()), Some(name));
        }
    }

    #[test]
    fn what_is_not_a_profile_is_refused() {
        for text in ["", "g.gb", "1g.10gb+", "1g.10gb+ME", "1c.2g.20gb", "1g.10gb*me", "-1g.5gb", "1g.10gbé"]
        {
            assert_eq!(ProfileName::parse(text), None, "{text}");
        }
        assert_eq!(ProfileName::parse(&format!("1g.{}gb", "9".repeat(40))), None);
    }
}
