use super::*;
use proptest::prelude::*;

fn built(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(1000);
    header.set_gid(1001);
    header.set_mtime(12);
    header
}

fn read_all(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut reader = TarReader::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).map_err(LayerError::Archive)?;
        entries.push((entry, data));
    }
    reader.drain()?;
    Ok(entries)
}

#[test]
fn entries_come_with_their_data_and_attributes() {
    let archive = built(|builder| {
        builder.append_data(&mut header(5), "dir/file", &b"hello"[..]).unwrap();
        let mut directory = header(0);
        directory.set_entry_type(tar::EntryType::Directory);
        builder.append_data(&mut directory, "dir2/", io::empty()).unwrap();
        let mut device = header(0);
        device.set_entry_type(tar::EntryType::Char);
        device.set_device_major(1).unwrap();
        device.set_device_minor(3).unwrap();
        builder.append_data(&mut device, "null", io::empty()).unwrap();
    });
    let entries = read_all(&archive).unwrap();
    let (file, data) = &entries[0];
    assert_eq!(
        (file.name.as_slice(), data.as_slice(), file.kind),
        (&b"dir/file"[..], &b"hello"[..], Kind::File)
    );
    assert_eq!((file.mode, file.uid, file.gid, file.mtime), (0o4755, 1000, 1001, (12, 0)));
    assert_eq!(entries[1].0.kind, Kind::Directory);
    assert_eq!((entries[2].0.kind, entries[2].0.device), (Kind::CharDevice, (1, 3)));
}

#[test]
fn long_names_and_links_of_both_kinds_are_whole() {
    let long = format!("{}/{}", "d".repeat(90), "e".repeat(90));
    let gnu = built(|builder| {
        let mut link = header(0);
        link.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut link, &long, &long).unwrap();
    });
    let pax = built(|builder| {
        builder.append_pax_extensions([("path", long.as_bytes()), ("linkpath", long.as_bytes())]).unwrap();
        let mut link = header(0);
        link.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut link, "short", "short").unwrap();
    });
    let ustar = built(|builder| {
        let mut file = tar::Header::new_ustar();
        file.set_path(&long).unwrap();
        file.set_size(0);
        file.set_cksum();
        builder.append(&file, io::empty()).unwrap();
    });
    for archive in [&gnu, &pax] {
        let entries = read_all(archive).unwrap();
        assert_eq!(entries[0].0.name, long.as_bytes());
        assert_eq!(entries[0].0.link, long.as_bytes());
    }
    assert_eq!(read_all(&ustar).unwrap()[0].0.name, long.as_bytes());
}

#[test]
fn extended_headers_apply_to_the_next_entry_only() {
    let value = b"\x01\0\0\x02\n=\0 bytes";
    let archive = built(|builder| {
        let records: [(&str, &[u8]); 5] = [
            ("uid", b"70000000"),
            ("gid", b"5"),
            ("mtime", b"1700000000.25"),
            ("SCHILY.xattr.security.capability", value),
            ("comment", b"x"),
        ];
        builder.append_pax_extensions(records).unwrap();
        builder.append_data(&mut header(1), "a", &b"1"[..]).unwrap();
        builder.append_data(&mut header(1), "b", &b"2"[..]).unwrap();
    });
    let entries = read_all(&archive).unwrap();
    let first = &entries[0].0;
    assert_eq!((first.uid, first.gid, first.mtime), (70_000_000, 5, (1_700_000_000, 250_000_000)));
    assert_eq!(first.xattrs, [(b"security.capability".to_vec(), value.to_vec())]);
    let second = &entries[1].0;
    assert_eq!((second.uid, second.xattrs.len(), second.mtime), (1000, 0, (12, 0)));
}

#[test]
fn the_size_of_an_extended_header_is_the_one_that_counts() {
    let mut archive = built(|builder| {
        builder.append_pax_extensions([("size", &b"3"[..])]).unwrap();
        let mut file = header(0);
        file.set_path("a").unwrap();
        file.set_cksum();
        builder.append(&file, io::empty()).unwrap();
    });
    archive.truncate(1536);
    archive.extend_from_slice(b"abc");
    archive.resize(2048 + 1024, 0);
    let entries = read_all(&archive).unwrap();
    assert_eq!((entries.len(), entries[0].1.as_slice()), (1, &b"abc"[..]));
}

#[test]
fn numbers_are_octal_or_binary() {
    assert_eq!(number(b"0000644\0"), Some(0o644));
    assert_eq!(number(b"    644 "), Some(0o644));
    assert_eq!(number(b"\0\0\0\0"), Some(0));
    assert_eq!(number(b"\x80\0\0\0\0\0\0\0\x02\0\0\x05"), Some(0x0200_0005));
    assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
    assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    assert_eq!(number(b"0000999\0"), None);
    assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
    assert_eq!(time(b"7"), Some((7, 0)));
    assert_eq!(time(b"1.x"), None);
}

#[test]
fn what_is_cut_short_is_an_error() {
    let archive = built(|builder| builder.append_data(&mut header(600), "a", &[1; 600][..]).unwrap());
    for length in [100, 512, 700, 1500] {
        assert!(matches!(read_all(&archive[..length]), Err(LayerError::Archive(_))), "{length}");
    }
    assert_eq!(read_all(&archive[..1536]).unwrap().len(), 1, "the zeros at the end may be missing");
    assert!(read_all(b"").unwrap().is_empty());
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let good = built(|builder| builder.append_data(&mut header(1), "a", &b"1"[..]).unwrap());
    let mut bad_sum = good.clone();
    bad_sum[0] = b'b';
    assert!(matches!(read_all(&bad_sum), Err(LayerError::Header(_))));
    assert!(matches!(read_all(&[7; 512]), Err(LayerError::Header(_))));
    let sparse = built(|builder| {
        builder.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
        builder.append_data(&mut header(1), "a", &b"1"[..]).unwrap();
    });
    assert!(read_all(&sparse).is_err());
    let unknown = built(|builder| {
        let mut odd = header(0);
        odd.set_entry_type(tar::EntryType::new(b'Z'));
        builder.append_data(&mut odd, "a", io::empty()).unwrap();
    });
    assert!(matches!(read_all(&unknown), Err(LayerError::Refused { .. })));
}

#[test]
fn a_huge_extended_header_is_refused_before_it_is_read() {
    let mut bomb = tar::Header::new_ustar();
    bomb.set_entry_type(tar::EntryType::XHeader);
    bomb.set_size(8 << 30);
    bomb.set_cksum();
    let stream = bomb.as_bytes().chain(io::repeat(b'1'));
    let error = TarReader::new(stream).next_entry().unwrap_err();
    assert!(matches!(error, LayerError::Header(_)), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_can_upset_it(
        noise in proptest::collection::vec(any::<u8>(), 0..2048),
        changes in proptest::collection::vec((0_usize..3072, any::<u8>()), 0..8),
    ) {
        let _ = read_all(&noise);
        let mut archive = built(|builder| {
            builder.append_pax_extensions([("path", &b"long"[..]), ("size", &b"4"[..])]).unwrap();
            builder.append_data(&mut header(4), "a", &b"1234"[..]).unwrap();
        });
        for (at, byte) in changes {
            if let Some(place) = archive.get_mut(at) {
                *place = byte;
            }
        }
        // With a right checksum, changes reach deeper.
        for start in (0..archive.len()).step_by(512) {
            let block = &mut archive[start..start + 512];
            if block[257..262] == *b"ustar" {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let _ = read_all(&archive);
    }
}
