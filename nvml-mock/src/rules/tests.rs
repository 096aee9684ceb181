//! All layouts that the rules reach, against the counts of `mig-profiles.json`, which were found otherwise.

use std::collections::BTreeSet;

use crate::board::Board;
use crate::state::State;

type Layout = BTreeSet<(String, u32)>;

fn layouts(model: &str, profiles: &[&str]) -> (usize, usize) {
    let empty = State::new(vec![Board::of(model).mig().at(0, String::new())], 0);
    let table = empty.gpus[0].mig.as_ref().unwrap().model();
    let wanted =
        table.profiles.iter().filter(|it| profiles.is_empty() || profiles.contains(&it.name.as_str()));
    let wanted: Vec<_> = wanted.collect();
    let (mut seen, mut maximal, mut open) = (BTreeSet::new(), 0, vec![(Layout::new(), empty)]);
    seen.insert(Layout::new());
    while let Some((layout, state)) = open.pop() {
        let mut is_maximal = true;
        for profile in &wanted {
            let left = state.gpus[0].remaining_capacity(profile);
            let mut fitting = 0;
            for start in profile.starts.clone() {
                let mut next = state.clone();
                let place = Some((start, profile.memory_slices));
                if next.create_gpu_instance(0, profile.id, place, false).is_err() {
                    continue;
                }
                (is_maximal, fitting) = (false, fitting + 1);
                let mut layout = layout.clone();
                layout.insert((profile.name.clone(), start));
                if seen.insert(layout.clone()) {
                    open.push((layout, next));
                }
            }
            assert_eq!(
                left == 0,
                fitting == 0,
                "{}: {left} left, {fitting} places in {layout:?}",
                profile.name
            );
            assert!(left <= fitting);
        }
        maximal += usize::from(is_maximal);
    }
    (seen.len(), maximal)
}

#[test]
fn the_rules_reach_every_legal_layout_and_no_other() {
    let base = ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"];
    assert_eq!(layouts("h100-80gb-sxm", &base), (298, 19));
    assert_eq!(layouts("h100-80gb-sxm", &[]), (2319, 239));
    assert_eq!(layouts("a30-24gb", &["1g.6gb", "2g.12gb", "4g.24gb"]), (26, 5));
    assert_eq!(layouts("a30-24gb", &[]).0, 76);
    assert_eq!(layouts("rtx-pro-6000-blackwell-96gb", &[]).0, 717);
}
