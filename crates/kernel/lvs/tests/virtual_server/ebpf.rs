//! The eBPF engine: hands it to the suite, and looks at what only it leaves in the kernel.

use crate::lab::{Engine, Place};
use shoal_lvs::{Ebpf, EbpfConfig, TcAttachment, VirtualServer};

pub(crate) struct EbpfEngine(pub(crate) TcAttachment);

impl EbpfEngine {
    pub(crate) fn config(&self, place: &Place) -> EbpfConfig {
        let mut config = EbpfConfig::new(place.pin_root(), place.netns_root());
        config.host_namespace = Some(place.host_namespace());
        config.flow_entries = 4096;
        config.attachment = self.0;
        config
    }
}

impl Engine for EbpfEngine {
    fn open(&self, place: &Place) -> Box<dyn VirtualServer> {
        Box::new(Ebpf::open(&self.config(place)).unwrap_or_else(|e| panic!("{e:?}")))
    }

    fn remove(&self, place: &Place) {
        Ebpf::remove(&self.config(place)).unwrap_or_else(|e| panic!("{e:?}"));
    }
}

/// The engine as it runs by default.
pub(crate) fn engine() -> Box<dyn Engine> {
    Box::new(EbpfEngine(TcAttachment::Auto))
}
