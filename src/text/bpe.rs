//! Byte-pair merging: the pair with the lowest rank first; among equals the leftmost.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

/// The character that stands for a space in pieces.
pub(super) const SPACE_MARK: char = '\u{2581}';

/// Each mergeable pair of pieces, with its rank (lower merges earlier) and the piece it becomes.
pub(super) type Merges = HashMap<(u32, u32), Merge>;

/// The merge of a pair.
#[derive(Clone, Copy)]
pub(super) struct Merge {
    /// Position in the file's list.
    pub(super) rank: u32,
    /// The concatenated piece.
    pub(super) id: u32,
}

/// A possible merge, queued. Ordered by rank, then from left to right.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    /// Index of the left symbol.
    at: usize,
    /// The pair when it was queued; if it has changed, the candidate is void.
    pair: (u32, u32),
    id: u32,
}

/// No neighbour: the end of the chain of symbols, in both directions.
const NONE: usize = usize::MAX;

/// Merges `symbols` until no adjacent pair is in `merges`.
///
/// Symbols form a linked list over their first positions and candidates a heap, so a text of n symbols takes O(n log
/// n) steps.
pub(super) fn merge(mut symbols: Vec<u32>, merges: &Merges) -> Vec<u32> {
    let count = symbols.len();
    let mut next: Vec<usize> = (1..=count).collect();
    let mut previous: Vec<usize> = (0..count).map(|i| i.wrapping_sub(1)).collect();
    if let Some(last) = next.last_mut() {
        *last = NONE;
    }
    let candidate = |at: usize, left: u32, right: u32| {
        let Merge { rank, id } = *merges.get(&(left, right))?;
        let pair = (left, right);
        Some(Reverse(Candidate { rank, at, pair, id }))
    };
    let mut queue: BinaryHeap<_> = (1..count)
        .filter_map(|i| candidate(i - 1, symbols[i - 1], symbols[i]))
        .collect();

    while let Some(Reverse(Candidate { at, pair, id, .. })) = queue.pop() {
        let right = next[at];
        // A symbol that was merged into its left neighbour points to itself.
        if right == at || right == NONE || pair != (symbols[at], symbols[right]) {
            continue;
        }
        symbols[at] = id;
        next[at] = next[right];
        next[right] = right;
        if next[at] != NONE {
            previous[next[at]] = at;
            queue.extend(candidate(at, id, symbols[next[at]]));
        }
        if previous[at] != NONE {
            queue.extend(candidate(previous[at], symbols[previous[at]], id));
        }
    }

    let mut kept = Vec::new();
    let mut at = if count == 0 { NONE } else { 0 };
    while at != NONE {
        kept.push(symbols[at]);
        at = next[at];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ranks_go_first_and_equal_ranks_from_the_left() {
        let table = [((1, 1), 4), ((2, 1), 5), ((4, 1), 6)];
        let merges: Merges = (0..)
            .zip(table)
            .map(|(rank, (pair, id))| (pair, Merge { rank, id }))
            .collect();
        assert!(merge(vec![], &merges).is_empty());
        assert_eq!(merge(vec![3], &merges), [3]);
        assert_eq!(merge(vec![1, 1, 1], &merges), [6]);
        assert_eq!(merge(vec![1, 1, 1, 1], &merges), [4, 4]);
        assert_eq!(merge(vec![2, 1, 1, 3, 2, 1], &merges), [2, 4, 3, 5]);
    }
}
