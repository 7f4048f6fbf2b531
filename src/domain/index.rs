//! Image indexes: what people pull of a multi-arch image, while findings are about its children.

use super::image::Digest;

/// One image of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its digest.
    pub digest: Digest,
    /// Its platform, such as `linux/amd64`, where the index names it.
    pub platform: Option<String>,
}

/// An image index or a Docker manifest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its digest.
    pub digest: Digest,
    /// The images that it holds. Attestations and other artifacts that are no images are left out.
    pub children: Vec<Child>,
}

impl Index {
    /// The child with this digest.
    #[must_use]
    pub fn child(&self, digest: &Digest) -> Option<&Child> {
        self.children.iter().find(|child| child.digest == *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_by_its_digest_alone() {
        let digest =
            |of: char| Digest::parse(format!("sha256:{}", of.to_string().repeat(64))).unwrap();
        let child = |of| Child { digest: digest(of), platform: None };
        let index = Index { digest: digest('a'), children: vec![child('b'), child('c')] };
        assert_eq!(index.child(&digest('c')), Some(&child('c')));
        assert_eq!(index.child(&digest('a')), None, "the index is not its own child");
    }
}
