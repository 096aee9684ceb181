//! Which requests a [`Proxy`](super::proxy::Proxy) spoils, and how.

use std::time::Duration;

use hyper::http::request::Parts;

use super::dice::Dice;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It arrives this much later.
    DelayRequest(Duration),
    /// It is carried out at once, and the answer comes this much later.
    DelayAnswer(Duration),
    /// It never arrives: the connection ends.
    LoseRequest,
    /// It is carried out, then the connection ends without an answer.
    LoseAnswer,
    /// It is carried out, and no answer comes as long as the client waits.
    Silence,
    /// It is not carried out and answered with this status.
    Answer(u16),
}

/// A fault, and the requests that it is for.
pub(crate) struct Rule {
    matches: Box<dyn Fn(&Parts) -> bool + Send>,
    fault: Fault,
    percent: u32,
    left: Option<usize>,
}

impl Rule {
    /// For all requests of which `matches` holds.
    pub(crate) fn when(matches: impl Fn(&Parts) -> bool + Send + 'static, fault: Fault) -> Self {
        Self { matches: Box::new(matches), fault, percent: 100, left: None }
    }

    /// For requests with this method whose path, without the query, ends so.
    pub(crate) fn on(method: &'static str, path_end: &'static str, fault: Fault) -> Self {
        let matches = move |asked: &Parts| asked.method == method && asked.uri.path().ends_with(path_end);
        Self::when(matches, fault)
    }

    /// For watches of a resource, by its name in the path.
    pub(crate) fn on_watch(resource: &'static str, fault: Fault) -> Self {
        let matches = move |asked: &Parts| {
            let query = asked.uri.query().unwrap_or_default();
            let is_watch = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
            is_watch && asked.uri.path().ends_with(&format!("/{resource}"))
        };
        Self::when(matches, fault)
    }

    /// For the first `times` of them only.
    pub(crate) fn times(mut self, times: usize) -> Self {
        self.left = Some(times);
        self
    }

    /// For so many in a hundred of them, as the proxy's dice fall.
    pub(crate) fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// The fault of a request, if it has one by this rule.
    pub(super) fn apply(&mut self, asked: &Parts, dice: &mut Dice) -> Option<Fault> {
        let is_meant = self.left != Some(0) && (self.matches)(asked) && dice.hits(self.percent);
        if is_meant && let Some(left) = &mut self.left {
            *left -= 1;
        }
        is_meant.then_some(self.fault)
    }
}
