//! The quarantine tags of one image, and which image each of them is on now.
//!
//! Anybody who can push can put `quarantine-<hex>` on another image. tagwarden never moves a mark
//! off another image, so an image has ten quarantine tags ([`Tag::quarantines`]), all of them known
//! as ours. If the image already has one of them, that is its mark; else tagwarden puts the first
//! one that is on no image. If all ten are on other images, the image is reported as `blocked`.
//!
//! Two gaps remain. ECR has no compare-and-put, so where tags are mutable, PutImage still moves a
//! tag that somebody puts on another image between the read and the PutImage. And BatchGetImage
//! says of a tag on an archived image that it is on no image.

use super::names::{Digest, Tag};

/// The image that a tag is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkHolder {
    /// The tag is on no image.
    Nobody,
    /// The tag is on the image with this digest.
    Image(Digest),
    /// The tag is on an image that cannot be read.
    Unreadable,
}

/// The quarantine tags that one image has, and those that are on no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    own: Vec<Tag>,
    free: Vec<Tag>,
}

impl Marks {
    /// Sorts the quarantine tags of this image by the image that they are on. Ignores all other
    /// tags.
    #[must_use]
    pub fn of(digest: &Digest, holders: impl IntoIterator<Item = (Tag, MarkHolder)>) -> Self {
        let (mut own, mut free) = (Vec::new(), Vec::new());
        for (tag, holder) in holders.into_iter().filter(|(tag, _)| tag.is_quarantine_of(digest)) {
            match holder {
                MarkHolder::Image(holder) if holder == *digest => own.push(tag),
                MarkHolder::Nobody => free.push(tag),
                MarkHolder::Image(_) | MarkHolder::Unreadable => {}
            }
        }
        own.sort();
        free.sort();
        Self { own, free }
    }

    /// Returns the mark that the image has, if any, and the first one if it has several.
    #[must_use]
    pub fn own(&self) -> Option<&Tag> {
        self.own.first()
    }

    /// Returns the quarantine tags that are on no image, in the order in which they are tried.
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
            0 => MarkHolder::Image(other.clone()),
            1 => MarkHolder::Unreadable,
            4 | 7 => MarkHolder::Image(image.clone()),
            _ => MarkHolder::Nobody,
        };
        let holders = tags.iter().cloned().enumerate().map(|(at, tag)| (tag, holder(at)));
        // The registry may answer in any order.
        let marks = Marks::of(&image, holders.rev());
        assert_eq!(marks.own(), Some(&tags[4]));
        let free = [2, 3, 5, 6, 8, 9].map(|at| tags[at].clone());
        assert_eq!(marks.free(), free);
    }

    #[test]
    fn mark_of_another_image_is_ignored() {
        let of_another = Tag::quarantine(&digest('b'));
        let marks = Marks::of(&digest('a'), [(of_another, MarkHolder::Nobody)]);
        assert_eq!((marks.own(), marks.free().len()), (None, 0));
    }
}
