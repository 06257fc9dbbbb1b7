//! Netlink attributes (length, type, value, padded to four bytes) written and read without knowledge of their meaning.

/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// The bits of the type that are not flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// Length of an attribute's header.
const HEADER: usize = 4;

/// A growing list of attributes.
#[derive(Debug, Default, Clone)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value in the byte order it already has.
    #[must_use]
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // Every value here is far below 64 KiB: the longest is a rule's user data.
        let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A number in network byte order.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A text with its final zero.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Attributes within an attribute.
    #[must_use]
    pub fn nested(self, kind: u16, inner: &Attributes) -> Self {
        self.raw_nested(kind, &inner.0)
    }

    /// Attributes, already as they are sent, within an attribute.
    #[must_use]
    pub fn raw_nested(self, kind: u16, inner: &[u8]) -> Self {
        self.bytes(kind | NESTED, inner)
    }

    /// The list as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in a buffer, type without flags; ends at the first that is not whole.
pub fn read_attributes(mut buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(buffer.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(buffer.get(2..4)?.try_into().ok()?);
        let value = buffer.get(HEADER..length)?;
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE_MASK, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Attributes::new().text(1, "br0").be32(2, 7);
        let outer = Attributes::new().bytes(9, &[1]).nested(3, &inner);
        let read: Vec<_> = read_attributes(outer.as_bytes()).collect();
        assert_eq!(read[0], (9, &[1_u8][..]));
        assert_eq!(read[1].0, 3);
        let nested: Vec<_> = read_attributes(read[1].1).collect();
        assert_eq!(nested, [(1, &b"br0\0"[..]), (2, &[0, 0, 0, 7][..])]);
    }

    #[test]
    fn a_cut_buffer_ends_the_list() {
        let list = Attributes::new().be32(1, 5).be32(2, 6);
        assert_eq!(read_attributes(&list.as_bytes()[..12]).count(), 1);
        assert_eq!(read_attributes(&[0, 0, 0, 0]).count(), 0);
    }
}
