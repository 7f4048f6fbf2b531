//! Where the quarantine tags of an image are, so that none of them is taken off another image.

use super::image::{Digest, Tag};

/// Where one tag is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// On no image.
    Nobody,
    /// On this image.
    Image(Digest),
    /// On an image that cannot be read.
    Unreadable,
}

/// Where the quarantine tags of one image are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    own: Vec<Tag>,
    free: Vec<Tag>,
}

impl Marks {
    /// Sorts the quarantine tags of this image by who holds them.
    #[must_use]
    pub fn of(digest: &Digest, holders: impl IntoIterator<Item = (Tag, Holder)>) -> Self {
        let (mut own, mut free) = (Vec::new(), Vec::new());
        for (tag, holder) in holders.into_iter().filter(|(tag, _)| tag.is_quarantine_of(digest)) {
            match holder {
                Holder::Image(holder) if holder == *digest => own.push(tag),
                Holder::Nobody => free.push(tag),
                Holder::Image(_) | Holder::Unreadable => {}
            }
        }
        own.sort();
        free.sort();
        Self { own, free }
    }

    /// The mark that the image bears, if any; the first of several.
    #[must_use]
    pub fn own(&self) -> Option<&Tag> {
        self.own.first()
    }

    /// Those that are on no image, in the order in which they are tried.
    #[must_use]
    pub fn free(&self) -> &[Tag] {
        &self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> Digest {
        Digest::parse(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    #[test]
    fn a_mark_on_another_image_is_neither_ours_nor_free() {
        let (image, other) = (digest('a'), digest('b'));
        let tags: Vec<_> = Tag::quarantines(&image).collect();
        let holder = |at| match at {
            0 => Holder::Image(other.clone()),
            1 => Holder::Unreadable,
            4 | 7 => Holder::Image(image.clone()),
            _ => Holder::Nobody,
        };
        let holders = tags.iter().cloned().enumerate().map(|(at, tag)| (tag, holder(at)));
        // In whatever order the registry answers.
        let marks = Marks::of(&image, holders.rev());
        assert_eq!(marks.own(), Some(&tags[4]));
        let free = [2, 3, 5, 6, 8, 9].map(|at| tags[at].clone());
        assert_eq!(marks.free(), free);
    }

    #[test]
    fn tags_that_are_no_mark_of_the_image_say_nothing() {
        let of_another = Tag::quarantine(&digest('b'));
        let marks = Marks::of(&digest('a'), [(of_another, Holder::Nobody)]);
        assert_eq!((marks.own(), marks.free().len()), (None, 0));
    }
}
