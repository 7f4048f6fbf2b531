//! A limit on YAML's aliases. An alias is a copy of the value that it names, and aliases nest, so
//! nine short lines can expand to a billion items. The parser that reads the settings has no limit
//! of its own, so the size is computed from the events of a first pass, which copies nothing.

use std::collections::HashMap;

use yaml_rust2::Event;
use yaml_rust2::parser::{EventReceiver, Parser};

/// The number of items that a file may expand to. A long text counts as several.
const MAX_ITEMS: usize = 100_000;
/// Bytes of text that count as one more item.
const LONG: usize = 64;

/// The aliases of a text expand to too many items.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its aliases expand to more than {MAX_ITEMS} items; expected fewer aliases (*name)")]
pub(super) struct TooManyAliases;

/// Refuses a text that its aliases make too large. Text that is not YAML passes, because the parser
/// that reads the settings reports the mistake. That parser stops at the mistake, so the size up to
/// there is checked all the same.
pub(super) fn check(text: &str) -> Result<(), TooManyAliases> {
    let mut size = Size::default();
    let _ = Parser::new_from_str(text).load(&mut size, true);
    if size.whole > MAX_ITEMS {
        return Err(TooManyAliases);
    }
    Ok(())
}

/// The size of what has been read so far.
#[derive(Debug, Default)]
struct Size {
    whole: usize,
    /// The size of what each anchor names.
    named: HashMap<usize, usize>,
    /// The lists and tables that are still open: the anchor, and the size before them.
    open: Vec<(usize, usize)>,
}

impl Size {
    fn add(&mut self, size: usize) {
        self.whole = self.whole.saturating_add(size);
    }
}

impl EventReceiver for Size {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Scalar(text, _, anchor, _) => {
                let size = 1 + text.len() / LONG;
                self.named.insert(anchor, size);
                self.add(size);
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                self.open.push((anchor, self.whole));
                self.add(1);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, before)) = self.open.pop() {
                    self.named.insert(anchor, self.whole.saturating_sub(before));
                }
            }
            Event::Alias(anchor) => self.add(self.named.get(&anchor).copied().unwrap_or(0)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_aliases_pass_and_a_billion_items_do_not() {
        let tables = |count: usize| {
            let line = |at| format!("a{at}: &a{at} [{}]\n", format!("*a{}, ", at - 1).repeat(9));
            "a0: &a0 [x]\n".to_owned() + &(1..count).map(line).collect::<String>()
        };
        assert_eq!(check(&tables(3)), Ok(()));
        for text in [tables(9), tables(9) + "*unknown", tables(9) + "]"] {
            let error = check(&text).unwrap_err();
            assert!(error.to_string().contains("aliases"), "{error}");
        }
        assert_eq!(check("a: [1"), Ok(()), "the reader says what is wrong");
        assert_eq!(check("a: &a [*a, *a]"), Ok(()));
    }
}
