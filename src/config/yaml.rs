//! A first pass over a YAML or JSON text: finds the place of each key, and limits YAML's aliases.
//!
//! An alias is a copy of the value that it names, and aliases nest, so nine short lines can expand
//! to a billion items. The parser that reads the settings has no limit of its own, so the size is
//! computed here from the events of the parser, which copies nothing. An alias has no places of its
//! own within it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use yaml_rust2::Event;
use yaml_rust2::parser::{MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;

use super::mistake::Mistake;
use super::node::{Inner, Node};

/// The number of items that a file may expand to. A long text counts as several.
const MAX_ITEMS: usize = 100_000;
/// Bytes of text that count as one more item.
const LONG: usize = 64;

/// Returns the places of all keys.
///
/// # Errors
/// Returns the mistake, with its place, if the text is not YAML, gives a key twice, or expands to
/// too many items.
pub(super) fn places(text: &str) -> Result<Node, Mistake> {
    // JSON may be indented by tabs, and YAML may not. No tab can be within a text of JSON.
    let text = text.replace('\t', " ");
    let mut pass = Pass { places: Places::new(&text), size: Size::default() };
    let read = Parser::new_from_str(&text).load(&mut pass, true);
    // The parser that reads the settings stops at a mistake, and expands what is before it.
    if pass.size.whole > MAX_ITEMS {
        let problem = format!("its aliases expand to more than {MAX_ITEMS} items");
        return Err(Mistake::general(problem).help("use fewer aliases (*name)"));
    }
    match read {
        Ok(()) => pass.places.finish(),
        Err(error) => {
            let at = pass.places.byte(error.marker());
            let problem = format!("is not valid YAML: {}", error.info());
            Err(Mistake::general(problem).at(Some(at..at + 1)))
        }
    }
}

struct Pass<'a> {
    places: Places<'a>,
    size: Size,
}

impl MarkedEventReceiver for Pass<'_> {
    fn on_event(&mut self, event: Event, mark: Marker) {
        self.places.on_event(&event, &mark);
        self.size.on_event(event);
    }
}

/// The nodes that have been read so far.
struct Places<'a> {
    text: &'a str,
    /// The byte at which each character begins, if some are longer than one byte.
    bytes: Option<Vec<usize>>,
    /// The lists and tables that are still open.
    open: Vec<Open>,
    root: Node,
    /// The first key that was given twice in one table.
    twice: Option<(String, Range<usize>)>,
}

/// A list or a table that is still open.
struct Open {
    start: usize,
    of: Collection,
}

enum Collection {
    List(Vec<Node>),
    /// A table, and the key whose value comes next.
    Table(BTreeMap<String, Node>, Option<(String, Range<usize>)>),
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self { text, bytes, open: Vec::new(), root: Node::default(), twice: None }
    }

    /// Returns the place of a mark in bytes. Marks count characters.
    fn byte(&self, mark: &Marker) -> usize {
        let at = mark.index();
        let bytes = self.bytes.as_ref().map_or(Some(at), |bytes| bytes.get(at).copied());
        bytes.unwrap_or(self.text.len()).min(self.text.len())
    }

    /// Returns the place of a scalar that begins here. The parser does not say where it ends.
    fn scalar(&self, start: usize, value: &str) -> Range<usize> {
        let rest = self.text.get(start..).unwrap_or_default();
        let quoted = rest.get(1..).is_some_and(|rest| rest.starts_with(value));
        let length = match (rest.starts_with(value), quoted) {
            (true, _) => value.len().max(1),
            (false, true) => value.len() + 2,
            (false, false) => 1,
        };
        start..start.saturating_add(length).min(self.text.len())
    }

    fn on_event(&mut self, event: &Event, mark: &Marker) {
        let start = self.byte(mark);
        match event {
            Event::Scalar(value, ..) => {
                let place = self.scalar(start, value);
                let open = self.open.last_mut().map(|open| &mut open.of);
                if let Some(Collection::Table(table, next @ None)) = open {
                    if table.contains_key(value) && self.twice.is_none() {
                        self.twice = Some((value.clone(), place.clone()));
                    }
                    *next = Some((value.clone(), place));
                } else {
                    self.add(place, Inner::Scalar);
                }
            }
            Event::Alias(_) => self.add(self.scalar(start, ""), Inner::Scalar),
            Event::SequenceStart(..) => {
                self.open.push(Open { start, of: Collection::List(Vec::new()) });
            }
            Event::MappingStart(..) => {
                self.open.push(Open { start, of: Collection::Table(BTreeMap::new(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { start: began, of }) = self.open.pop() {
                    let inner = match of {
                        Collection::List(list) => Inner::List(list),
                        Collection::Table(table, _) => Inner::Table(table),
                    };
                    self.add(began..start.max(began), inner);
                }
            }
            _ => {}
        }
    }

    /// Adds a value to the list or table that is open.
    fn add(&mut self, value: Range<usize>, inner: Inner) {
        let node = Node { key: 0..0, value, inner };
        match self.open.last_mut().map(|open| &mut open.of) {
            Some(Collection::List(list)) => list.push(node),
            Some(Collection::Table(table, next)) => match next.take() {
                Some((name, key)) => {
                    table.insert(name, Node { key, ..node });
                }
                // A table or a list as a key. The parser that reads the settings refuses it.
                None => *next = Some((String::new(), node.value)),
            },
            None => self.root = node,
        }
    }

    fn finish(self) -> Result<Node, Mistake> {
        match self.twice {
            Some((name, at)) => {
                Err(Mistake::general(format!("key `{name}` is given twice")).at(Some(at)))
            }
            None => Ok(self.root),
        }
    }
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
        assert!(places(&tables(3)).is_ok());
        for text in [tables(9), tables(9) + "*unknown", tables(9) + "]"] {
            let error = places(&text).unwrap_err();
            assert!(error.to_string().contains("aliases"), "{error}");
        }
        assert!(places("a: &a [*a, *a]").is_ok());
    }
}
