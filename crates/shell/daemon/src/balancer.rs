//! Which engine the virtual server runs on, and what becomes of the one that ran before.

use crate::config::{Config, LbEngine};
use crate::node_loop::chain;
use shoal_lvs::{Difference, Ebpf, EbpfConfig, Error, Nft, NftConfig, VirtualServer};
use shoal_model::lvs::Table;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The node's virtual server.
pub(crate) struct Balancer {
    engine: Mutex<Box<dyn VirtualServer>>,
    /// The other engine, while connections that it gave out go on.
    former: Mutex<Option<Former>>,
    ebpf: EbpfConfig,
    nft: NftConfig,
    /// Why the usual engine does not run, if it does not.
    pub(crate) fallback: Option<String>,
    uses_marks: bool,
}

enum Former {
    Ebpf(Box<Ebpf>),
    Nft(Box<Nft>),
}

impl Balancer {
    /// Opens the engine that was asked for.
    pub(crate) fn open(config: &Config, table: String) -> Result<Self, Error> {
        let netns_root = config.exec_root.join("netns");
        let ebpf = EbpfConfig::new(config.exec_root.join("bpf"), &netns_root);
        let nft = NftConfig::new(&netns_root, table);
        let mut fallback = None;
        let engine: Box<dyn VirtualServer> = match config.lb_engine {
            LbEngine::Ebpf => Box::new(Ebpf::open(&ebpf)?),
            LbEngine::Nft => Box::new(Nft::open(&nft)?),
            LbEngine::Auto => match Ebpf::open(&ebpf) {
                Ok(engine) => Box::new(engine),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "balancing with nft: the ebpf engine does not run");
                    fallback = Some(chain(&error));
                    Box::new(Nft::open(&nft)?)
                }
            },
        };
        let uses_marks = engine.name() == "nft";
        let former = if uses_marks { former_ebpf(&ebpf)? } else { former_nft(&nft)? };
        tracing::info!(engine = engine.name(), takes_over = former.is_some(), "the virtual server");
        let (engine, former) = (Mutex::new(engine), Mutex::new(former));
        Ok(Self { engine, former, ebpf, nft, fallback, uses_marks })
    }

    /// Whether answers are marked by the node that they go back to: by the engine, or by the one before it.
    pub(crate) fn steers_by_mark(&self) -> bool {
        self.uses_marks || matches!(*self.former(), Some(Former::Nft(_)))
    }

    /// Uses the engine; blocks for the time of a few system calls.
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&mut dyn VirtualServer) -> T) -> T {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(engine.as_mut())
    }

    /// Brings the engine up to date, and lets the former one go when nobody needs it any more. Returns what was found,
    /// and what was left of it.
    pub(crate) fn sync(&self, table: &Table) -> Result<(Vec<Difference>, Vec<Difference>), Error> {
        let accompanied = self.former().is_some();
        let found = self.with(|engine| {
            engine.accompany(accompanied);
            let found = engine.sync(table)?;
            // What was repaired is looked at once more: only what was seen to be right counts as right.
            let left = if found.is_empty() { Vec::new() } else { engine.check(table)? };
            Ok::<_, Error>((found, left))
        })?;
        // The new engine has every service by now; the old one must not take connections after it.
        let mut former = self.former();
        let still = match former.as_mut() {
            None => return Ok(found),
            Some(Former::Ebpf(ebpf)) => ebpf.retire()?,
            Some(Former::Nft(nft)) => nft.retire(table)?,
        };
        if still == 0 {
            // Closed first: what it holds open would outlive its removal.
            match former.take() {
                Some(Former::Ebpf(ebpf)) => {
                    drop(ebpf);
                    Ebpf::remove(&self.ebpf)?;
                }
                Some(Former::Nft(_)) => Nft::remove(&self.nft)?,
                None => {}
            }
            tracing::info!("the former engine of the virtual server is gone");
        }
        Ok(found)
    }

    fn former(&self) -> MutexGuard<'_, Option<Former>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn former_ebpf(config: &EbpfConfig) -> Result<Option<Former>, Error> {
    if !Ebpf::exists(config)? {
        return Ok(None);
    }
    match Ebpf::open(config) {
        Ok(engine) => Ok(Some(Former::Ebpf(Box::new(engine)))),
        // It cannot even be looked into; what it left would only be in the way.
        Err(error) => {
            tracing::warn!(error = chain(&error), "the former ebpf engine ends with its connections");
            Ebpf::remove(config)?;
            Ok(None)
        }
    }
}

fn former_nft(config: &NftConfig) -> Result<Option<Former>, Error> {
    let exists = Nft::exists(config)?;
    exists.then(|| Ok(Former::Nft(Box::new(Nft::open(config)?)))).transpose()
}
