//! Builds without clang use the committed object, so it must have been made from the committed sources.

#[path = "../bpf/sources.rs"]
mod sources;

use std::path::Path;

#[test]
fn the_committed_object_was_made_from_these_sources() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    let committed = std::fs::read_to_string(directory.join("shoal_lvs.digest")).unwrap();
    let digest = sources::digest(&directory).unwrap();
    let advice = "run `SHOAL_LVS_COMMIT_OBJECT=1 cargo build -p shoal-lvs` and commit bpf/";
    assert_eq!(committed.trim(), digest, "{advice}");
    assert!(directory.join("shoal_lvs.o").metadata().unwrap().len() > 0);
}
