//! Numbers that look random and are the same in every run with one seed.

/// `SplitMix64`: small, and good enough to mix workloads and to lose answers.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that always fall as they do for this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u32) -> u32 {
        let below = self.next() % u64::from(sides);
        u32::try_from(below).expect("it is below a number of 32 bits")
    }

    /// Whether something happens that does in `percent` of all cases.
    pub(crate) fn hits(&mut self, percent: u32) -> bool {
        self.roll(100) < percent
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let sides = u32::try_from(choices.len()).expect("choices are few");
        let index = usize::try_from(self.roll(sides)).expect("an index of the slice");
        choices[index]
    }
}
