//! Which sites the slots of a pipeline go to: a pure function of what there is.

use crate::hash::{VNODES, mix_bytes};

/// How many slots a pipeline may and must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// With fewer it waits.
    pub min: usize,
    /// More it does not take.
    pub max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { min: 1, max: VNODES }
    }
}

impl Bounds {
    /// What both allow, which is at least one slot: the larger `min` gives way to the smaller `max`.
    pub fn and(self, other: Self) -> Self {
        let max = self.max.min(other.max).clamp(1, VNODES);
        Self { min: self.min.max(other.min).clamp(1, max), max }
    }
}

/// By slot, the index of the site that gets it; `None` if the sites have fewer slots than there must be.
///
/// `sites`: the address and the number of slots of each. A pipeline that takes fewer slots than there are sites prefers some of them,
/// others than other pipelines prefer, and the same however many sites come and go beside these (highest random weight hashing,
/// Thaler and Ravishankar 1998).
pub fn spread(sites: &[(String, usize)], pipeline: u64, bounds: Bounds) -> Option<Vec<usize>> {
    let total = sites.iter().map(|(_, slots)| slots).sum::<usize>();
    if total < bounds.min {
        return None;
    }
    let wanted = total.min(bounds.max).min(VNODES);
    let mut order: Vec<usize> = (0..sites.len()).collect();
    if wanted < sites.len() {
        order.sort_by_key(|site| std::cmp::Reverse(mix_bytes(pipeline, sites[*site].0.as_bytes())));
    }
    let mut left: Vec<usize> = sites.iter().map(|(_, slots)| *slots).collect();
    let mut places = Vec::with_capacity(wanted);
    // One slot of each in turn, so that none works while others idle.
    while places.len() < wanted {
        for site in &order {
            if left[*site] > 0 && places.len() < wanted {
                left[*site] -= 1;
                places.push(*site);
            }
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sites(slots: &[usize]) -> Vec<(String, usize)> {
        slots.iter().enumerate().map(|(i, slots)| (format!("worker{i}:1"), *slots)).collect()
    }

    #[test]
    fn all_slots_are_taken_in_turn() {
        assert_eq!(spread(&sites(&[2, 1, 3]), 1, Bounds::default()), Some(vec![0, 1, 2, 0, 2, 2]));
        assert_eq!(spread(&sites(&[2, 1, 3]), 1, Bounds { min: 1, max: 4 }), Some(vec![0, 1, 2, 0]));
        assert_eq!(spread(&sites(&[2, 1]), 1, Bounds { min: 4, max: 8 }), None);
        assert_eq!(spread(&[], 1, Bounds::default()), None);
    }

    #[test]
    fn bounds_of_jobs_that_run_together_hold_together() {
        let (wide, narrow) = (Bounds { min: 3, max: 8 }, Bounds { min: 1, max: 2 });
        assert_eq!(wide.and(narrow), Bounds { min: 2, max: 2 });
        assert_eq!(Bounds::default().and(wide), wide);
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_it_has(slots in prop::collection::vec(0usize..6, 0..8), min in 1usize..8, more in 0usize..8) {
            let offers = sites(&slots);
            let bounds = Bounds { min, max: min + more };
            let Some(places) = spread(&offers, 7, bounds) else {
                prop_assert!(slots.iter().sum::<usize>() < min);
                return Ok(());
            };
            prop_assert_eq!(places.len(), slots.iter().sum::<usize>().min(bounds.max));
            for (site, slots) in slots.iter().enumerate() {
                prop_assert!(places.iter().filter(|place| **place == site).count() <= *slots);
            }
        }

        #[test]
        fn a_site_that_joins_or_leaves_moves_only_its_own_slots(pipeline: u64, workers in 4usize..10, max in 1usize..4) {
            let bounds = Bounds { min: 1, max };
            let chosen = |sites: &[(String, usize)]| {
                let places = spread(sites, pipeline, bounds).unwrap_or_default();
                places.into_iter().map(|place| sites[place].0.clone()).collect::<std::collections::BTreeSet<_>>()
            };
            let all = sites(&vec![1; workers]);
            let before = chosen(&all);
            let last = &all[workers - 1].0;
            let after = chosen(&all[..workers - 1]);
            prop_assert!(before.iter().filter(|site| *site != last).all(|site| after.contains(site)));
        }
    }
}
