//! Lists in pages, as the API server has them: `limit`, and `continue` where the last page ended.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Entries at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<u32>,
    /// `continue` of the page before; the first page without. Entries that come and go meanwhile may be on no page.
    #[serde(rename = "continue")]
    pub after: Option<String>,
}

/// Where a page stands in its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageView {
    /// For the next page; absent on the last one.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// Entries that come after this page.
    remaining: usize,
}

impl PageQuery {
    const LIMIT: u32 = 100;
    const LIMIT_MAX: u32 = 500;

    /// Entries at most.
    ///
    /// # Errors
    /// A limit of nothing, or beyond the largest page.
    pub fn limit(&self) -> Result<usize, String> {
        let limit = self.limit.unwrap_or(Self::LIMIT);
        if !(1..=Self::LIMIT_MAX).contains(&limit) {
            return Err(format!("limit: {limit} is not from 1 to {}", Self::LIMIT_MAX));
        }
        Ok(usize::try_from(limit).expect("at most 500"))
    }

    /// The entries of the page out of all, which stand in the order of their keys.
    pub fn cut<T>(&self, all: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> (Vec<T>, PageView) {
        let after = self.after.as_deref().unwrap_or_default();
        let mut page: Vec<T> = all.into_iter().skip_while(|entry| *key(entry) <= *after).collect();
        let remaining = page.len().saturating_sub(limit);
        page.truncate(limit);
        let last = page.last().filter(|_| remaining > 0).map(key);
        (page, PageView { after: last, remaining })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_make_up_the_list_and_the_last_one_says_so() {
        let all: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let mut query = PageQuery { limit: Some(2), after: None };
        let mut seen = Vec::new();
        for (remaining, has_more) in [(3, true), (1, true), (0, false)] {
            let (page, view) = query.cut(all.clone(), query.limit().unwrap(), Clone::clone);
            assert_eq!((view.remaining, view.after.is_some()), (remaining, has_more));
            seen.extend(page);
            query.after = view.after;
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_page_may_begin_after_what_is_there_no_more() {
        let query = PageQuery { limit: None, after: Some("bb".to_owned()) };
        let (page, view) = query.cut(vec!["a".to_owned(), "c".to_owned()], 10, Clone::clone);
        assert_eq!((page, view.remaining), (vec!["c".to_owned()], 0));
        assert_eq!(
            PageQuery { limit: Some(0), after: None }.limit().unwrap_err(),
            "limit: 0 is not from 1 to 500"
        );
    }
}
