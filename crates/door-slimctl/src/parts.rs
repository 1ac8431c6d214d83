//! Lists as they are told: in parts.

use crate::limits::CHUNK;

/// A list in parts, each with whether it is the last. Never none.
pub(crate) fn parts<T: Clone>(all: Vec<T>) -> Vec<(Vec<T>, bool)> {
    if all.is_empty() {
        return vec![(all, true)];
    }
    let count = all.chunks(CHUNK).count();
    all.chunks(CHUNK).enumerate().map(|(place, part)| (part.to_vec(), place + 1 == count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_told_in_parts_of_a_hundred_and_the_last_says_so() {
        let check = |count: usize, expected: &[usize]| {
            let parts = parts(vec![0; count]);
            assert_eq!(parts.iter().map(|(part, _)| part.len()).collect::<Vec<_>>(), expected);
            assert_eq!(parts.iter().filter(|(_, done)| *done).count(), 1);
            assert!(parts.last().unwrap().1);
        };
        check(0, &[0]);
        check(100, &[100]);
        check(201, &[100, 100, 1]);
    }
}
