//! Smooth weighted round robin: in every run of as many turns as the weights add up to, each target has as many as its
//! weight, spread evenly. The order is worked out once; a turn is one atomic addition.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The order of turns.
#[derive(Debug)]
pub struct Schedule {
    order: Box<[u32]>,
    turn: AtomicUsize,
}

impl Schedule {
    /// `weights`: by target, each at least 1.
    #[must_use]
    pub fn new(weights: &[u32]) -> Schedule {
        let divisor = weights
            .iter()
            .copied()
            .reduce(greatest_common_divisor)
            .unwrap_or(1)
            .max(1);
        let weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
        let total: i64 = weights.iter().sum();
        let mut credit = vec![0_i64; weights.len()];
        let order = (0..total).filter_map(|_| {
            for (credit, weight) in credit.iter_mut().zip(&weights) {
                *credit += weight;
            }
            // the first of the richest
            let (chosen, richest) = credit
                .iter_mut()
                .enumerate()
                .rev()
                .max_by_key(|(_, credit)| **credit)?;
            *richest -= total;
            u32::try_from(chosen).ok()
        });
        Schedule {
            order: order.collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Index of the target whose turn it is.
    #[must_use]
    pub fn next(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(self.order.len()).unwrap_or(0);
        self.order.get(at).map_or(0, |index| *index as usize)
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn turns_are_spread_by_weight() {
        let schedule = Schedule::new(&[5, 1, 1]);
        let turns: Vec<usize> = (0..7).map(|_| schedule.next()).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn equal_weights_take_turns() {
        let schedule = Schedule::new(&[100, 100]);
        assert_eq!((0..4).map(|_| schedule.next()).collect::<Vec<_>>(), [0, 1, 0, 1]);
    }
}
