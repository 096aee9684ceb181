//! Checked quantities: Kubernetes' resource amounts as whole numbers.
//!
//! Conventions of the whole crate: indices count from 0, ranges are half-open, memory is in MiB (suffix
//! `_mib`) or bytes (suffix `_bytes`), CPU in thousandths of a core (suffix `_milli`).

use thiserror::Error;

/// Why a text is not a Kubernetes quantity that Tangram can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not of the form `<number><suffix>`: the author of the object has to mend it.
    #[error("not a Kubernetes quantity")]
    Malformed,
    /// A well-formed amount below zero, which no request and no node may have.
    #[error("negative")]
    Negative,
    /// Larger than what any node can hold (2^63 - 1 in the unit asked for).
    #[error("too large")]
    TooLarge,
    /// A fraction of something that comes whole, such as a GPU.
    #[error("not a whole number")]
    Fraction,
}

/// A Kubernetes quantity (`apimachinery/pkg/api/resource`): decimal digits, an optional fraction, and a
/// binary (`Ki` to `Ei`), decimal (`n` to `E`) or exponent (`e3`) suffix.
///
/// Held as thousandths, rounded up, as Kubernetes rounds when it needs milli-units; so 1 byte is 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    milli: i64,
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// ```
    /// use tangram::units::Quantity;
    /// assert_eq!(Quantity::parse("1500m")?.milli(), 1500);
    /// assert_eq!(Quantity::parse("2Gi")?.units_rounded_up(), 2 << 30);
    /// assert_eq!(Quantity::parse("1e3")?.whole(), Ok(1000));
    /// # Ok::<(), tangram::units::QuantityError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        const DIGITS_MAX: usize = 36; // beyond 2^63 in any suffix; also the bound of i128 below
        let (is_negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = body.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(body.len());
        let (number, suffix) = body.split_at(end);
        let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (integer.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Malformed);
        }
        let (multiplier, ten_exponent) = suffix_of(suffix).ok_or(QuantityError::Malformed)?;
        let integer = integer.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if integer.is_empty() && fraction.is_empty() {
            return Ok(Self { milli: 0 });
        }
        if is_negative {
            return Err(QuantityError::Negative);
        }
        if integer.len() > DIGITS_MAX {
            return Err(QuantityError::TooLarge);
        }
        // Digits beyond nano-units only matter for rounding up: one sticky digit stands for them.
        let kept = &fraction[..fraction.len().min(9)];
        let sticky = u32::from(fraction.len() > kept.len());
        let digits: String = [integer, kept].concat();
        let mantissa: i128 =
            if digits.is_empty() { 0 } else { digits.parse().map_err(|_| QuantityError::TooLarge)? };
        let scaled = mantissa.checked_mul(multiplier).ok_or(QuantityError::TooLarge)?;
        // value = scaled * 10^(ten_exponent - kept) ; milli = that * 10^3
        let exponent = ten_exponent + 3 - i32::try_from(kept.len()).expect("at most 9");
        let milli = if exponent >= 0 {
            let factor = 10_i128.checked_pow(exponent.unsigned_abs()).ok_or(QuantityError::TooLarge)?;
            scaled.checked_mul(factor).ok_or(QuantityError::TooLarge)? + i128::from(sticky)
        } else {
            match 10_i128.checked_pow(exponent.unsigned_abs()) {
                Some(divisor) => {
                    let exact = scaled.rem_euclid(divisor) == 0 && sticky == 0;
                    scaled.div_euclid(divisor) + i128::from(!exact)
                }
                None => 1,
            }
        };
        i64::try_from(milli).map(|milli| Self { milli }).map_err(|_| QuantityError::TooLarge)
    }

    /// In thousandths.
    pub fn milli(self) -> i64 {
        self.milli
    }

    /// In units, rounded up.
    pub fn units_rounded_up(self) -> i64 {
        self.milli.div_euclid(1000) + i64::from(self.milli.rem_euclid(1000) != 0)
    }

    /// In units, when it is a whole number that a count of devices can be.
    pub fn whole(self) -> Result<u32, QuantityError> {
        if self.milli.rem_euclid(1000) != 0 {
            return Err(QuantityError::Fraction);
        }
        u32::try_from(self.milli.div_euclid(1000)).map_err(|_| QuantityError::TooLarge)
    }
}

/// Multiplier and power of ten of a suffix.
fn suffix_of(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 0));
    let decimal = |exponent: i32| Some((1, exponent));
    match suffix {
        "" => decimal(0),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            Some((1, exponent.parse().ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use QuantityError::{Fraction, Malformed, Negative, TooLarge};

    #[test]
    fn amounts_that_kubernetes_writes() {
        let cases = [
            ("0", 0),
            ("1", 1000),
            ("100m", 100),
            ("1.5", 1500),
            ("1Ki", 1_024_000),
            ("0.5Gi", 536_870_912_000),
            ("1e3", 1_000_000),
            ("1E-3", 1),
            ("1k", 1_000_000),
            ("5n", 1),
            ("1.0001", 1001),
            (".5", 500),
            ("5.", 5000),
            ("-0", 0),
            ("+3", 3000),
            ("2E", 2_000_000_000_000_000_000_000_i128),
            ("1e-9999", 1),
        ];
        for (text, milli) in cases {
            let expected = i64::try_from(milli).map_err(|_| TooLarge);
            assert_eq!(Quantity::parse(text).map(Quantity::milli), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_an_amount() {
        let nines = "9".repeat(10_000);
        let cases = [
            ("", Malformed),
            ("NaN", Malformed),
            ("inf", Malformed),
            ("1..2", Malformed),
            ("1 ", Malformed),
            ("0x10", Malformed),
            ("1Kii", Malformed),
            ("-1", Negative),
            ("1e99", TooLarge),
            (nines.as_str(), TooLarge),
            ("9223372036854775807", TooLarge),
            ("1e99999", Malformed),
            (".", Malformed),
            ("-", Malformed),
        ];
        for (text, error) in cases {
            assert_eq!(Quantity::parse(text), Err(error), "{text}");
        }
        assert_eq!(Quantity::parse("1500m").and_then(Quantity::whole), Err(Fraction));
        assert_eq!(Quantity::parse("5G").and_then(Quantity::whole), Err(TooLarge));
    }
}
