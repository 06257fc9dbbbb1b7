//! A short word for a whole assignment, so that two sides can tell whether they mean the same one.

use sha2::{Digest, Sha256};
use shoal_model::Assignment;

/// Bytes of the hash that are kept: 64 bits never meet by chance among the assignments of one node.
const KEPT: usize = 8;

/// The digest of an assignment, hexadecimal. Its version does not count: it moves with every write anywhere.
pub fn digest(assignment: &Assignment) -> String {
    let Assignment { version: _, tasks, networks, secrets, configs } = assignment;
    let parts = (tasks, networks, secrets, configs);
    // Maps are ordered and no type of the model refuses to be written, so that equal assignments give equal bytes.
    let bytes = serde_json::to_vec(&parts).unwrap_or_default();
    hex::encode(&Sha256::digest(bytes)[..KEPT])
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::{Config, ConfigId};

    #[test]
    fn the_content_counts_and_the_version_does_not() {
        let empty = Assignment::default();
        assert_eq!(digest(&empty), digest(&Assignment { version: 7, ..empty.clone() }));
        let config = Config {
            id: ConfigId::from_random(1),
            meta: shoal_model::Meta::default(),
            spec: shoal_model::object::DataSpec::default(),
        };
        let mut fuller = empty.clone();
        fuller.configs.insert(config.id.clone(), config);
        assert_ne!(digest(&empty), digest(&fuller));
        let travelled: Assignment = serde_json::from_slice(&serde_json::to_vec(&fuller).unwrap()).unwrap();
        assert_eq!(digest(&travelled), digest(&fuller));
    }
}
