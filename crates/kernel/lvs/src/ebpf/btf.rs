//! What the kernel knows about the layout of a map's keys and values: BTF, as the map was made with.
//!
//! Numbers and layouts are those of `linux/btf.h` and `Documentation/bpf/btf.rst`.

use std::collections::BTreeMap;

const MAGIC: u16 = 0xeb9f;
/// Types nest less deep than this in anything that was compiled.
const DEPTH_MAX: usize = 16;

const INTEGER: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNCTION_PROTOTYPE: u32 = 13;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
const DECLARATION_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Length of `struct btf_type` and of a member of a struct in bytes.
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// Where a field lies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: usize,
    pub(crate) length: usize,
}

/// Fields by their path, `flow.client_port`; a plain number is one field without a name. Padding that was given the name
/// `zero` is none.
pub(crate) type Fields = BTreeMap<String, Place>;

/// All types of an object.
pub(crate) struct Types<'a> {
    types: Vec<&'a [u8]>,
    strings: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn index(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(word(bytes, at)?).ok()
}

/// Bytes behind a type's `struct btf_type`.
fn more_bytes(kind: u32, count: usize) -> usize {
    match kind {
        INTEGER | VARIABLE | DECLARATION_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | SECTION | ENUM64 => count * MEMBER_BYTES,
        ENUM | FUNCTION_PROTOTYPE => count * 8,
        _ => 0,
    }
}

fn kind_of(kind: &[u8]) -> Option<(u32, usize)> {
    let info = word(kind, 4)?;
    Some(((info >> 24) & 0x1f, (info & 0xffff) as usize))
}

impl<'a> Types<'a> {
    /// Reads BTF as the kernel hands it out.
    pub(crate) fn read(btf: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*btf.first_chunk()?) != MAGIC {
            return None;
        }
        let body = btf.get(index(btf, 4)?..)?;
        let section = |at: usize| {
            let from = index(btf, at)?;
            body.get(from..from.checked_add(index(btf, at + 4)?)?)
        };
        let (mut rest, strings) = (section(8)?, section(16)?);
        let mut types = Vec::new();
        while !rest.is_empty() {
            let (kind, count) = kind_of(rest)?;
            let (this, next) = rest.split_at_checked(TYPE_BYTES + more_bytes(kind, count))?;
            types.push(this);
            rest = next;
        }
        Some(Self { types, strings })
    }

    /// The fields of a type.
    pub(crate) fn fields(&self, number: u32) -> Option<Fields> {
        let mut fields = Fields::new();
        self.collect(number, "", 0, DEPTH_MAX, &mut fields)?;
        Some(fields)
    }

    /// Number 0 is `void`, which has no entry.
    fn get(&self, number: u32) -> Option<&'a [u8]> {
        self.types.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    fn name(&self, at: usize) -> Option<&str> {
        let from = self.strings.get(at..)?;
        std::str::from_utf8(from.split(|byte| *byte == 0).next()?).ok()
    }

    fn size(&self, number: u32, depth: usize) -> Option<usize> {
        let this = self.get(number)?;
        match kind_of(this)?.0 {
            ARRAY => {
                let of_one = self.size(word(this, TYPE_BYTES)?, depth.checked_sub(1)?)?;
                of_one.checked_mul(index(this, TYPE_BYTES + 8)?)
            }
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => {
                self.size(word(this, 8)?, depth.checked_sub(1)?)
            }
            INTEGER | STRUCT | UNION | ENUM | ENUM64 => index(this, 8),
            _ => None,
        }
    }

    fn collect(&self, number: u32, path: &str, at: usize, depth: usize, fields: &mut Fields) -> Option<()> {
        let this = self.get(number)?;
        let depth = depth.checked_sub(1)?;
        let (kind, count) = kind_of(this)?;
        match kind {
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => {
                return self.collect(word(this, 8)?, path, at, depth, fields);
            }
            STRUCT => {}
            _ => {
                fields.insert(path.to_owned(), Place { at, length: self.size(number, depth)? });
                return Some(());
            }
        }
        for member in this.get(TYPE_BYTES..)?.chunks_exact(MEMBER_BYTES).take(count) {
            let name = self.name(index(member, 0)?)?;
            if name == "zero" {
                continue;
            }
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            // In bits; none of ours is a bit field.
            let member_at = at.checked_add(index(member, 8)? / 8)?;
            self.collect(word(member, 4)?, &path, member_at, depth, fields)?;
        }
        Some(())
    }
}

/// How bytes of one layout become those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversion(Vec<(Place, usize)>);

impl Conversion {
    /// Possible where every old field is still there; new ones are zero.
    pub(crate) fn between(old: &Fields, new: &Fields) -> Option<Self> {
        let moved = old.iter().map(|(path, from)| {
            let to = new.get(path).filter(|to| to.length == from.length)?;
            Some((*from, to.at))
        });
        moved.collect::<Option<_>>().map(Self)
    }

    /// Bytes of the new layout, `length` of them.
    pub(crate) fn convert(&self, old: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut new = vec![0; length];
        for (from, to) in &self.0 {
            let bytes = old.get(from.at..from.at + from.length)?;
            new.get_mut(*to..to + from.length)?.copy_from_slice(bytes);
        }
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF with the types 1: `unsigned int`, 2: `__u32`, 3: `struct pair { __u32 a; __u32 zero; }` and
    /// 4: `struct outer { struct pair p; __u32 list[3]; }`.
    fn example() -> Vec<u8> {
        let strings = b"\0int\0__u32\0pair\0a\0zero\0outer\0p\0list\0";
        let at = |name: &str| {
            let wanted = format!("\0{name}\0");
            let found = strings.windows(wanted.len()).position(|window| window == wanted.as_bytes());
            u32::try_from(found.unwrap() + 1).unwrap()
        };
        let types: Vec<u32> = [
            vec![at("int"), INTEGER << 24, 4, 32],
            vec![at("__u32"), TYPEDEF << 24, 1],
            vec![at("pair"), STRUCT << 24 | 2, 8, at("a"), 2, 0, at("zero"), 2, 32],
            vec![at("outer"), STRUCT << 24 | 2, 20, at("p"), 3, 0, at("list"), 5, 64],
            vec![0, ARRAY << 24, 0, 2, 1, 3],
        ]
        .concat();
        let (length, string_length) =
            (u32::try_from(types.len() * 4).unwrap(), u32::try_from(strings.len()).unwrap());
        let mut btf = MAGIC.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        for number in [24, 0, length, length, string_length].into_iter().chain(types) {
            btf.extend(number.to_ne_bytes());
        }
        btf.extend(strings);
        btf
    }

    fn fields(list: &[(&str, usize, usize)]) -> Fields {
        list.iter()
            .map(|(path, at, length)| ((*path).to_owned(), Place { at: *at, length: *length }))
            .collect()
    }

    #[test]
    fn fields_are_found_by_their_paths() {
        let btf = example();
        let types = Types::read(&btf).unwrap();
        assert_eq!(types.fields(2).unwrap(), fields(&[("", 0, 4)]));
        assert_eq!(types.fields(3).unwrap(), fields(&[("a", 0, 4)]));
        assert_eq!(types.fields(4).unwrap(), fields(&[("p.a", 0, 4), ("list", 8, 12)]));
        assert_eq!(types.fields(9), None);
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_types() {
        let btf = example();
        for length in 0..btf.len() - 1 {
            assert!(Types::read(&btf[..length]).is_none(), "{length} bytes");
        }
        assert!(Types::read(&[0; 64]).is_none());
    }

    #[test]
    fn fields_move_and_new_ones_are_zero() {
        let old = fields(&[("a", 0, 2), ("b", 2, 1)]);
        let new = fields(&[("b", 0, 1), ("c", 1, 2), ("a", 4, 2)]);
        let conversion = Conversion::between(&old, &new).unwrap();
        assert_eq!(conversion.convert(&[1, 2, 3], 6).unwrap(), [3, 0, 0, 0, 1, 2]);
        assert_eq!(conversion.convert(&[1, 2], 6), None);
    }

    #[test]
    fn what_is_lost_or_resized_cannot_be_converted() {
        let old = fields(&[("a", 0, 2)]);
        assert_eq!(Conversion::between(&old, &fields(&[("b", 0, 2)])), None);
        assert_eq!(Conversion::between(&old, &fields(&[("a", 0, 4)])), None);
    }
}
