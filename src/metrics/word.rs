//! Labels whose values are a few fixed words, and tables with a metric for each of them.
//!
//! Every series of a table is there from the start, at 0: what has never happened is a fact too, and a rate needs
//! a value to start from. Counting is one addition to an atomic: no lock, no look-up, no allocation.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// A word of a label.
pub(super) trait Word: Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// The label's name.
    const LABEL: &'static str;
    /// All words.
    const ALL: &'static [Self];

    /// The label's value.
    fn word(self) -> &'static str;

    /// Its position among all words.
    fn position(self) -> usize {
        Self::ALL.iter().position(|word| *word == self).expect("all words are listed")
    }
}

/// A metric for each word.
#[derive(Debug)]
pub(super) struct Table<W, M> {
    cells: Arc<[(W, M)]>,
}

/// A metric for each pair of words.
#[derive(Debug)]
pub(super) struct Grid<A, B, M> {
    cells: Arc<[(A, B, M)]>,
}

impl<W, M> Clone for Table<W, M> {
    fn clone(&self) -> Self {
        Self { cells: self.cells.clone() }
    }
}

impl<A, B, M> Clone for Grid<A, B, M> {
    fn clone(&self) -> Self {
        Self { cells: self.cells.clone() }
    }
}

impl<W: Word, M: Default> Default for Table<W, M> {
    fn default() -> Self {
        Self { cells: W::ALL.iter().map(|&word| (word, M::default())).collect() }
    }
}

impl<A: Word, B: Word, M: Default> Default for Grid<A, B, M> {
    fn default() -> Self {
        let pairs = A::ALL.iter().flat_map(|&a| B::ALL.iter().map(move |&b| (a, b, M::default())));
        Self { cells: pairs.collect() }
    }
}

impl<W: Word, M> Table<W, M> {
    /// The metric of a word.
    pub(super) fn of(&self, word: W) -> &M {
        &self.cells[word.position()].1
    }
}

impl<A: Word, B: Word, M> Grid<A, B, M> {
    /// The metric of a pair.
    pub(super) fn of(&self, a: A, b: B) -> &M {
        &self.cells[a.position() * B::ALL.len() + b.position()].2
    }
}

impl<W: Word, M: EncodeMetric + fmt::Debug> EncodeMetric for Table<W, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (word, metric) in self.cells.iter() {
            metric.encode(encoder.encode_family(&[(W::LABEL, word.word())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.cells[0].1.metric_type()
    }
}

impl<A: Word, B: Word, M: EncodeMetric + fmt::Debug> EncodeMetric for Grid<A, B, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (a, b, metric) in self.cells.iter() {
            metric.encode(encoder.encode_family(&[(A::LABEL, a.word()), (B::LABEL, b.word())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.cells[0].2.metric_type()
    }
}

/// An enum whose variants are the words of a label.
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis $name:ident, $label:literal: $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name { $($(#[$of])* $variant),+ }

        impl $name {
            /// The label's value.
            $vis fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::metrics::word::Word for $name {
            const LABEL: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn word(self) -> &'static str {
                self.name()
            }
        }
    };
}
pub(super) use words;
