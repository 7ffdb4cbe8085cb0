//! Added tokens: strings that become one id each before the rest of the text is tokenised.

/// The added tokens as a trie over bytes, so that finding the longest match takes one pass.
pub(super) struct AddedTokens {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    /// Next byte, and the index of its node.
    children: Vec<(u8, usize)>,
    /// Id of the token that ends here.
    id: Option<u32>,
}

impl AddedTokens {
    /// No tokens yet.
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }

    /// Adds one token; false if its content was added before.
    pub(super) fn insert(&mut self, content: &str, id: u32) -> bool {
        let mut at = 0;
        for byte in content.bytes() {
            at = match self.child(at, byte) {
                Some(next) => next,
                None => {
                    self.nodes.push(Node::default());
                    let next = self.nodes.len() - 1;
                    self.nodes[at].children.push((byte, next));
                    next
                }
            };
        }
        self.nodes[at].id.replace(id).is_none()
    }

    /// The longest token that `bytes` begins with: its length in bytes, and its id.
    pub(super) fn longest(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let mut at = 0;
        let mut found = None;
        for (depth, &byte) in bytes.iter().enumerate() {
            let Some(next) = self.child(at, byte) else {
                break;
            };
            at = next;
            if let Some(id) = self.nodes[at].id {
                found = Some((depth + 1, id));
            }
        }
        found
    }

    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        let children = &self.nodes[node].children;
        children.iter().find(|c| c.0 == byte).map(|c| c.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_token_wins() {
        let mut added = AddedTokens::new();
        assert!(added.insert("<b>", 1));
        assert!(added.insert("\n", 2));
        assert!(added.insert("\n\n\n", 3));
        assert!(!added.insert("<b>", 4));
        assert_eq!(added.longest(b"\n\n\n\n"), Some((3, 3)));
        assert_eq!(added.longest(b"\n\nx"), Some((1, 2)));
        assert_eq!(added.longest(b"<b"), None);
        assert_eq!(added.longest(b""), None);
    }
}
