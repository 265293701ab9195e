use milepost_protocol::Position;

/// How many epochs of a job are remembered. One follows another only when the job was forgotten or the
/// broker lost its memory; more than two are seen when instances disagree.
const EPOCHS: usize = 4;

/// How much of a job has been seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    /// The newest position seen in each epoch, the latest epoch first.
    seen: Vec<Position>,
}

impl Cursor {
    pub(crate) fn new(since: Option<Position>) -> Self {
        Self { seen: since.into_iter().collect() }
    }

    /// Where to resume.
    pub(crate) fn latest(&self) -> Option<Position> {
        self.seen.first().copied()
    }

    /// Moves on to `position`; false if a state as new as that, or newer, has been seen in its epoch.
    pub(crate) fn advance(&mut self, position: Position) -> bool {
        if !self.seen.iter().all(|seen| position.is_newer_than(*seen, None)) {
            return false;
        }
        self.seen.retain(|seen| seen.epoch != position.epoch);
        self.seen.truncate(EPOCHS - 1);
        self.seen.insert(0, position);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Position {
        Position::parse(text).unwrap()
    }

    #[test]
    fn neither_the_same_nor_an_older_state_is_let_through() {
        let mut cursor = Cursor::new(Some(at("a-5")));
        assert!(!cursor.advance(at("a-5")));
        assert!(!cursor.advance(at("a-4")));
        assert!(cursor.advance(at("a-6")));
        assert_eq!(cursor.latest(), Some(at("a-6")));
    }

    #[test]
    fn another_epoch_starts_anew_and_the_one_before_is_remembered() {
        let mut cursor = Cursor::new(Some(at("a-5")));
        assert!(cursor.advance(at("b-1")));
        assert!(!cursor.advance(at("a-5")));
        assert_eq!(cursor.latest(), Some(at("b-1")));
    }

    proptest! {
        #[test]
        fn numbers_only_grow_within_an_epoch(
            positions in prop::collection::vec((1u64..5, 1u64..20), 0..60)
        ) {
            let mut cursor = Cursor::default();
            let mut newest = std::collections::HashMap::new();
            for (epoch, number) in positions {
                let position = at(&format!("{epoch:x}-{number}"));
                let is_newer = newest.get(&epoch).is_none_or(|&seen| number > seen);
                prop_assert_eq!(cursor.advance(position), is_newer);
                if is_newer {
                    newest.insert(epoch, number);
                    prop_assert_eq!(cursor.latest(), Some(position));
                }
                prop_assert!(cursor.seen.len() <= EPOCHS);
            }
        }
    }
}
