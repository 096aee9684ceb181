//! Repeatable randomness.

/// A small fast generator (SplitMix64): the repeatability of files must not hang on a dependency's version.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("an address fits into 64 bits");
        usize::try_from(self.next_u64().rem_euclid(bound)).expect("below an address")
    }

    /// A number above 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a number of this kind holds")]
        let bits = (self.next_u64() >> 11) as f64;
        (bits + 0.5) / 9_007_199_254_740_992.0 // 2^53
    }

    /// A time until the next event of a Poisson process with one event per unit of time.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// A number of the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = ((-2.0 * self.unit().ln()).sqrt(), std::f64::consts::TAU * self.unit());
        radius * angle.cos()
    }
}
